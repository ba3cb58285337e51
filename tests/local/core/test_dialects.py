"""Both dialects: requests in protobuf and zstd do what JSON does, results come in the one that is asked for."""

from __future__ import annotations

import json
import math
import random

import msgspec
import numpy as np
import pytest
import zstandard

from tinker_actors.local.core import Hold, Limits
from tinker_actors.protocol.codec.protobuf.requests import encode_forward_backward_tail, head
from tinker_actors.protocol.codec.protobuf.schema import messages
from tinker_actors.protocol.replies import protobuf_results
from tinker_actors.types import Datum, ModelInput, TensorData

PROTOBUF = "application/x-protobuf"
PROMPT = {"chunks": [{"tokens": [1, 2, 3]}]}


def message(model, seq_id, loss="cross_entropy", *, forward_only=False, **inputs):
    given = {"target_tokens": [1, 2, 3], "weights": np.ones(3, np.float32), **inputs}
    data = [Datum(ModelInput.from_ints([1, 2, 3]), given)]
    return head(model, seq_id) + encode_forward_backward_tail(data, loss, None, forward_only=forward_only)


def post(driver, body, encoding=None, path="forward_backward"):
    headers = {"content-type": PROTOBUF} | ({"content-encoding": encoding} if encoding else {})
    answer = driver.raw(path, body, **headers)
    return answer.status, json.loads(answer.body)


def accepted(driver, body, encoding=None):
    status, said = post(driver, body, encoding)
    assert status == 200, said
    driver.work()
    return said["request_id"]


def fetch(driver, request_id, *, metadata=False, accept=PROTOBUF):
    body = json.dumps({"request_id": request_id, "allow_metadata_only": metadata}).encode()
    answer = driver.raw("retrieve_future", body, accept=accept)
    return dict(answer.headers)["content-type"], answer.body


# ---------------------------------------------------------------- requests


@pytest.mark.parametrize("forward_only", [False, True])
@pytest.mark.parametrize("encoding", [None, "zstd"])
def test_a_request_in_protobuf_does_what_the_same_one_in_json_does(make_driver, bodies, forward_only, encoding):
    written, packed = make_driver(), make_driver()
    model = written.model()
    json_body = bodies.forward_backward(model, 1)
    if forward_only:
        json_body["forward_input"] = json_body.pop("forward_backward_input")
    first = written.submit("forward" if forward_only else "forward_backward", json_body)
    written.work()
    body = message(packed.model(), 1, forward_only=forward_only)
    second = accepted(packed, zstandard.compress(body) if encoding else body, encoding)
    assert packed.result(second) == written.result(first)
    assert packed.result(second)["type"] == ("forward" if forward_only else "forward_backward")
    # And the models are the same afterwards.
    steps = [driver.submit("optim_step", bodies.optim_step(model, 2)) for driver in (written, packed)]
    written.work()
    packed.work()
    assert written.result(steps[0]) == packed.result(steps[1])


def test_a_request_sent_again_is_the_same_request_however_it_is_packed(driver):
    model = driver.model()
    body = message(model, 1)
    first = accepted(driver, body)
    assert post(driver, body)[1]["request_id"] == first
    assert post(driver, zstandard.compress(body), "zstd")[1]["request_id"] == first
    assert post(driver, message(model, 1, "ppo"))[0] == 409


def test_the_limit_is_on_what_comes_out(make_driver):
    driver = make_driver(Limits(body_bytes=1000))
    small = zstandard.compress(b"\0" * 1_000_000)
    assert len(small) < 1000
    assert post(driver, small, "zstd") == (
        413,
        {"detail": "The body is larger than this server's limit of 1000 bytes."},
    )


def test_any_request_may_be_compressed(driver):
    body = json.dumps({"tags": [], "sdk_version": "0"}).encode()
    answer = driver.raw("create_session", zstandard.compress(body), **{"content-encoding": "ZSTD"})
    assert answer.status == 200


@pytest.mark.parametrize(
    ("body", "encoding", "status", "words"),
    [
        (b"\xff\xff", None, 400, "ForwardBackwardRequest"),
        (b"not zstd", "zstd", 400, "can't be unpacked"),
        (zstandard.compress(b"\xff\xff"), "zstd", 400, "ForwardBackwardRequest"),
        (message("nobody:train:0", 1), None, 404, "no session"),
    ],
)
def test_what_is_no_request_is_refused(driver, body, encoding, status, words):
    got, said = post(driver, body, encoding)
    assert (got, words in said["detail"]) == (status, True), said


def test_a_request_without_a_number_is_refused(driver):
    assert post(driver, message(driver.model(), 0)) == (422, {"detail": "seq_id starts at 1, got 0."})


@pytest.mark.parametrize("forward_only", [False, True])
def test_a_message_that_contradicts_itself_holds_its_number(driver, bodies, forward_only):
    model = driver.model()
    broken = messages().ForwardBackwardRequest.FromString(message(model, 1, forward_only=forward_only))
    broken.data[0].loss_fn_inputs["weights"].shape[0] = 7
    status, said = post(driver, broken.SerializeToString())
    assert status == 422
    assert "datum 0" in said["detail"]
    assert "weights" in said["detail"]
    step = driver.submit("optim_step", bodies.optim_step(model, 2))
    driver.work()
    # A forward changes nothing, so the step behind it may be applied; a gradient is missing from it.
    assert ("error" in driver.result(step)) == (not forward_only)


def test_numbers_that_are_none_are_refused(driver):
    model = driver.model()
    tail = encode_forward_backward_tail(
        [Datum(ModelInput.from_ints([1]), {"target_tokens": [1]})], "ppo", {"clip_low_threshold": math.nan},
        forward_only=False,
    )  # fmt: skip
    assert post(driver, head(model, 1) + tail) == (
        400,
        {"detail": "loss_fn_config clip_low_threshold must be a finite number, got nan."},
    )


@pytest.mark.parametrize("seed", range(5))
def test_mutated_messages_are_all_answered_and_none_hurts(driver, seed):
    draw = random.Random(seed)
    model = driver.model()
    targets, sparse = np.array([[1, 2], [3, 4], [5, 6]]), TensorData([1.0], "float32", [3, 2], [0, 1, 1, 1], [1])
    outcomes = set()
    for _ in range(300):
        number = driver.core.state.models[model].sequencer.next_number
        body = bytearray(message(model, number, target_tokens=targets, weights=sparse))
        for _ in range(draw.randint(1, 4)):
            place = draw.randrange(len(model) + 2, len(body))  # past the model's id
            body[place : place + draw.randint(0, 2)] = draw.randbytes(draw.randint(0, 2))
        packed = zstandard.compress(bytes(body))
        broken = draw.random() < 0.2
        if broken:
            packed = packed[: draw.randrange(1, len(packed))]
        status, said = post(driver, packed, "zstd")
        assert status in ((400,) if broken else (200, 400, 404, 409, 422)), said
        driver.work()
        if status == 200 and not isinstance(result := driver.poll(said["request_id"]), Hold):
            outcomes.add(json.loads(result.body).get("category", "done"))
    assert outcomes == {"done", "user"}
    assert driver.good("get_info", {"model_id": model})["model_id"] == model


def test_sparse_inputs_are_read(driver):
    sparse = TensorData([1.0, 1.0], "float32", [3, 2], [0, 1, 1, 2], [0, 1])
    dense = np.array([[1, 0], [0, 0], [0, 1]], np.float32)
    targets = np.array([[1, 2], [3, 4], [5, 6]])
    model = driver.model()
    first = accepted(driver, message(model, 1, forward_only=True, target_tokens=targets, weights=sparse))
    second = accepted(driver, message(model, 2, forward_only=True, target_tokens=targets, weights=dense))
    assert driver.result(first) == driver.result(second)


@pytest.mark.parametrize("columns", [2**40, 2**62])
def test_a_sparse_shape_that_would_fill_the_memory_is_refused(driver, columns):
    huge = TensorData([1.0], "float32", [3, columns], [0, 1, 1, 1], [0])
    failed = accepted(driver, message(driver.model(), 1, weights=huge))
    said = driver.result(failed)
    assert said["category"] == "user"
    assert "cells" in said["error"]


def test_many_sparse_tensors_that_would_fill_it_together_are_refused_too(driver):
    each = TensorData([1], "int64", [3, 2 * 2**20], [0, 1, 1, 1], [0])
    data = [Datum(ModelInput.from_ints([1, 2, 3]), {"target_tokens": each}) for _ in range(4)]
    body = head(driver.model(), 1) + encode_forward_backward_tail(data, "cross_entropy", None, forward_only=True)
    assert "the request's sparse tensors have" in driver.result(accepted(driver, body))["error"]


# ---------------------------------------------------------------- results


def test_a_pass_comes_in_the_dialect_that_is_asked_for(driver):
    request_id = accepted(driver, message(driver.model(), 1))
    said = driver.result(request_id)
    kind, body = fetch(driver, request_id)
    assert kind == PROTOBUF
    got = protobuf_results.forward_backward_output(body)
    assert got.metrics == said["metrics"]
    expected = np.asarray(said["loss_fn_outputs"][0]["logprobs"]["data"], np.float32)
    np.testing.assert_array_equal(got.loss_fn_outputs[0]["logprobs"].to_numpy(), expected)
    assert fetch(driver, request_id, accept="application/json")[0] == "application/json"
    assert fetch(driver, request_id, accept="application/x-protobuf, application/json")[0] == PROTOBUF


TARGETS = {
    "dense": {"data": [5, -1, 6, 7], "shape": [2, 2]},
    "sparse": {"data": [5, 6], "shape": [2, 4], "sparse_crow_indices": [0, 1, 2], "sparse_col_indices": [3, 0]},
}


@pytest.mark.parametrize("targets", TARGETS)
def test_a_sample_comes_with_everything_that_was_asked_for(driver, bodies, targets):
    fields = {
        "num_samples": 2,
        "prompt_logprobs": True,
        "topk_prompt_logprobs": 2,
        "topk_sample_logprobs": 3,
        "target_prompt_logprobs": {**TARGETS[targets], "dtype": "int64"},
    }
    submitted = driver.good("asample", bodies.sample(driver.sampler(), **fields))
    driver.work()
    said = driver.result(submitted["request_id"])
    kind, body = fetch(driver, submitted["request_id"])
    assert kind == PROTOBUF
    names = submitted["sample_sequence_ids"]
    got = protobuf_results.sample_response(body, 3, sequence_ids=names)
    for name, sequence, expected in zip(names, got.sequences, said["sequences"], strict=True):
        assert (sequence.stop_reason, sequence.tokens) == (expected["stop_reason"], expected["tokens"])
        assert sequence.sequence_id == expected["sequence_id"] == name
        assert sequence.logprobs == pytest.approx(expected["logprobs"])
        assert [[token for token, _ in row] for row in sequence.topk_logprobs] == [
            [token for token, _ in row] for row in expected["topk_logprobs"]
        ]
    assert got.prompt_logprobs[0] is None
    assert got.prompt_logprobs[1:] == pytest.approx(said["prompt_logprobs"][1:])
    assert got.topk_prompt_logprobs[0] is None
    assert [len(row) for row in got.topk_prompt_logprobs[1:]] == [2, 2]
    scored = msgspec.to_builtins(said["target_prompt_logprobs"])
    assert got.target_prompt_logprobs.data == pytest.approx(scored["data"])
    assert got.target_prompt_logprobs.shape == scored["shape"]
    assert got.target_prompt_logprobs.sparse_col_indices == scored.get("sparse_col_indices")


def test_nothing_that_was_not_asked_for_comes(driver, bodies):
    request_id = driver.submit("asample", bodies.sample(driver.sampler()))
    driver.work()
    sample = messages().SampleResponse.FromString(fetch(driver, request_id)[1])
    assert [field.name for field, _ in sample.ListFields()] == ["sequences"]


def test_what_is_announced_is_the_size_of_what_comes(make_driver, bodies):
    driver = make_driver(Limits(inline_result_bytes=20))
    request_id = driver.submit("asample", bodies.sample(driver.sampler()))
    driver.work()
    sizes = set()
    for accept in ("application/json", PROTOBUF):
        kind, announced = fetch(driver, request_id, metadata=True, accept=accept)
        assert kind == "application/json"
        whole = fetch(driver, request_id, accept=accept)[1]
        assert json.loads(announced)["response_payload_size"] == len(whole)
        sizes.add(len(whole))
    assert len(sizes) == 2


def test_all_other_outcomes_are_json(driver, bodies):
    model = driver.model()
    step = driver.submit("optim_step", bodies.optim_step(model, 1))
    failed = accepted(driver, message(model, 2, target_tokens=[10**6] * 3))
    for request_id, word in ((step, "metrics"), (failed, "error")):
        kind, body = fetch(driver, request_id)
        assert kind == "application/json"
        assert word in json.loads(body)
    waiting = driver.submit("asample", bodies.sample(driver.sampler()))
    held = driver.raw(
        "retrieve_future", json.dumps({"request_id": waiting, "allow_metadata_only": True}).encode(), accept=PROTOBUF
    )
    assert isinstance(held, Hold)
    assert json.loads(driver.core.resume(held, held.deadline).body)["type"] == "try_again"
    driver.work()
    assert dict(driver.core.resume(held, driver.now).headers)["content-type"] == PROTOBUF


def test_a_result_from_before_a_restart_comes_in_protobuf_too(make_driver, bodies):
    before = make_driver()
    request_id = before.submit("asample", bodies.sample(before.sampler()))
    before.work()
    expected = fetch(before, request_id)
    after = make_driver(store=before.store, ids="again")
    assert fetch(after, request_id) == expected
