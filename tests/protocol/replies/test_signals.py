"""Failures, waits and successes, in every form in which servers are known to write them."""

from __future__ import annotations

import json

import pytest

from tinker_actors.errors import APIResponseValidationError, RequestFailedError
from tinker_actors.protocol.replies.outcomes import Done, Failed, FetchFull, TryLater, Unreadable, poll_outcome
from tinker_actors.protocol.replies.results import training_result
from tinker_actors.protocol.replies.sample_results import sample_response
from tinker_actors.protocol.requests.operations import sample
from tinker_actors.types import ModelInput

JSON = {"content-type": "application/json"}
TEXT = "CUDA out of memory"

OPERATIONS = (
    "CreateModel", "Forward", "ForwardBackward", "OptimStep", "SaveWeights", "LoadWeights", "SaveWeightsForSampler",
    "Sample",
)  # fmt: skip

OUTPUT = {"loss_fn_output_type": "x", "loss_fn_outputs": [{}], "metrics": {}}
SEQUENCES = [{"stop_reason": "stop", "tokens": [1], "logprobs": [-0.5]}]
RESULTS = {
    "CreateModel": {"model_id": "m"},
    "Forward": OUTPUT,
    "ForwardBackward": OUTPUT,
    "OptimStep": {"metrics": {"a": 1.0}},
    "SaveWeights": {"path": "tinker://m/weights/a"},
    "LoadWeights": {"path": "tinker://m/weights/a"},
    "SaveWeightsForSampler": {"path": None, "sampling_session_id": "s"},
    "Sample": {"sequences": SEQUENCES},
}


def poll(asked, body, headers=JSON):
    def read(content_type, content):
        if asked == "Sample":
            return sample_response(content_type, content, 3, expected=1)
        return training_result(asked, 1 if asked.startswith("Forward") else 0, content_type, content)

    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return poll_outcome(200, headers, body, "r-1", 0.0, 0, read)


FAILURES = [
    {"error": TEXT, "category": "user"},  # the protocol's own
    {"error": TEXT},
    {"error": None, "message": TEXT},
    {"type": "request_failed", "error": TEXT, "category": "user"},
    {"type": "RequestFailedResponse", "error_message": TEXT},
    {"type": "RequestFailedResponse", "error_message": TEXT, "category": "server_error"},
    {"type": "error", "message": TEXT},
    {"status": "failed", "error": {"message": TEXT, "category": "user"}},
    {"status": "failed", "message": TEXT},
    {"status": "FAILED", "error_message": TEXT},
    {"status": "error", "detail": TEXT},
    {"status": "cancelled", "message": TEXT},
    {"success": False, "message": TEXT},
    {"ok": False, "detail": TEXT},
    {"detail": TEXT},
    {"detail": [{"loc": ["body"], "msg": TEXT}]},
    {"type": "about:blank", "title": "Server error", "status": 500, "detail": TEXT},  # RFC 9457
    {"status": 500, "message": TEXT},
    {"state": "failed", "message": TEXT},
    {"status": "aborted", "message": TEXT},
    {"status": "REJECTED", "message": TEXT},
    {"errors": [TEXT]},
    {"exception": TEXT},
]


@pytest.mark.parametrize("asked", OPERATIONS)
@pytest.mark.parametrize("failure", FAILURES, ids=json.dumps)
def test_a_failure_never_passes_as_done(asked, failure):
    outcome = poll(asked, failure)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, RequestFailedError)
    assert TEXT in outcome.error.message
    assert outcome.error.request_id == "r-1"


@pytest.mark.parametrize("asked", OPERATIONS)
@pytest.mark.parametrize("failure", FAILURES, ids=json.dumps)
def test_nor_does_it_beside_what_looks_like_a_result(asked, failure):
    assert isinstance(poll(asked, RESULTS[asked] | failure), Failed)


@pytest.mark.parametrize("failure", FAILURES, ids=json.dumps)
@pytest.mark.parametrize("asked", ["OptimStep", "LoadWeights"])
def test_nor_beside_a_result_that_is_nothing_but_its_name(asked, failure):
    """Of these everything but the name is optional."""
    assert isinstance(poll(asked, {"type": TYPES[asked], "metrics": {}, "path": None} | failure), Failed)


@pytest.mark.parametrize(
    ("said", "category"),
    [("user", "user"), ("User", "user"), ("server_error", "server"), ("system", "server"), ("else", "unknown")],
)
def test_the_category_is_read_in_its_spellings(said, category):
    assert poll("OptimStep", {"error": TEXT, "category": said}).error.category == category


@pytest.mark.parametrize("asked", OPERATIONS)
@pytest.mark.parametrize(
    "nothing",
    [{}, {"type": None}, {"type": "done"}, {"status": "ok"}, {"message": "ok"}, {"result": {"metrics": {}}}, [], "ok"],
)
def test_what_shows_no_success_is_none(asked, nothing):
    outcome = poll(asked, nothing)
    assert isinstance(outcome, Unreadable)
    assert isinstance(outcome.error, APIResponseValidationError)
    assert outcome.error.outcome == "unknown"


TYPES = {
    "CreateModel": "create_model",
    "Forward": "forward",
    "ForwardBackward": "forward_backward",
    "OptimStep": "optim_step",
    "SaveWeights": "save_weights",
    "LoadWeights": "load_weights",
    "SaveWeightsForSampler": "save_weights_for_sampler",
    "Sample": "sample",
}


@pytest.mark.parametrize("asked", OPERATIONS)
@pytest.mark.parametrize("named", OPERATIONS)
def test_a_result_of_something_else_is_none(asked, named):
    passes = {"Forward", "ForwardBackward"}
    fits = asked == named or {asked, named} == passes
    outcome = poll(asked, RESULTS[asked] | {"type": TYPES[named]})
    assert isinstance(outcome, Done if fits else Unreadable)


SUCCESSES = [
    ("OptimStep", {"metrics": None}),
    ("OptimStep", {"metrics": {}}),
    ("OptimStep", {"type": "optim_step"}),
    ("OptimStep", {"type": "OptimStep", "metrics": {}}),
    ("OptimStep", {"type": "optim_step_completed", "metrics": {"x": None}}),
    ("OptimStep", {"metrics": {"skyrl.ai/grad_norm": 2.3}, "message": "stepped", "status": "completed"}),
    ("LoadWeights", {"type": "load_weights"}),  # all that SkyRL says
    ("LoadWeights", {"path": None, "model_id": None, "type": None}),
    ("LoadWeights", {"model_id": "m"}),
    ("LoadWeights", {"path": "tinker://m/weights/a", "type": "weights_loaded"}),
    ("SaveWeights", {"path": "tinker://m-samp-1", "sampling_session_id": "s", "type": "save_weights"}),
    ("SaveWeightsForSampler", {"path": "tinker://m/a", "type": "save_weights_for_sampler"}),
    ("CreateModel", {"model_id": "m", "lora_config": {"alpha": 32.0}, "status": "created"}),
    ("Forward", OUTPUT | {"type": "forward_backward"}),
    ("ForwardBackward", {"loss_fn_outputs": [], "metrics": None}),
    ("Sample", {"sequences": SEQUENCES, "prompt_logprobs": None, "type": "sample_completed"}),
]


@pytest.mark.parametrize(("asked", "body"), [*SUCCESSES, *RESULTS.items()], ids=str)
def test_no_servers_success_is_refused(asked, body):
    assert isinstance(poll(asked, body), Done)
    # Some write all fields that they have, also those that say nothing.
    nothing = {"detail": None, "errors": [], "exception": None, "error_message": None, "state": None, "message": "fine"}
    assert isinstance(poll(asked, nothing | {"status": "completed", "success": True} | body), Done)


@pytest.mark.parametrize("asked", OPERATIONS)
@pytest.mark.parametrize("status", ["pending", "queued", "running", "processing", "in_progress"])
def test_what_is_not_over_is_asked_for_later(asked, status):
    assert poll(asked, {"status": status}) == TryLater()
    assert poll(asked, {"type": "try_again", "queue_state": "active"}) == TryLater("active")
    assert poll(asked, {"status": "complete_metadata", "response_payload_size": 7}) == FetchFull(7)


# ---------------------------------------------------------------- results that contradict themselves


def sequence(**fields):
    return {"sequences": [SEQUENCES[0] | fields]}


@pytest.mark.parametrize(
    "body",
    [
        {"sequences": []},
        {"sequences": SEQUENCES * 2},
        sequence(tokens=[1, 2, 3]),
        sequence(tokens=[2**63]),
        sequence(tokens=[2**31]),
        sequence(tokens=[-1]),
        sequence(stop_reason="eos"),
    ],
    ids=str,
)
def test_a_sample_that_can_not_be_is_asked_for_again(body):
    assert isinstance(poll("Sample", body), Unreadable)


def test_the_same_sample_in_protobuf_is_judged_alike():
    from tinker_actors.protocol.codec.protobuf.serving import encode_sample_response
    from tinker_actors.types import SampledSequence

    headers = {"content-type": "application/x-protobuf"}

    def judged(*sequences):
        return type(poll("Sample", encode_sample_response(list(sequences)), headers))

    good = SampledSequence("stop", [1], [-0.5])
    assert judged(good) is Done
    assert judged(good, good) is Unreadable
    assert judged(SampledSequence("stop", [-1], [-0.5])) is Unreadable
    assert type(poll("Sample", encode_sample_response([good])[:-1], headers)) is Unreadable
    assert type(poll("Sample", b"", headers)) is Unreadable


@pytest.mark.parametrize("count", [2, 5])
def test_as_many_outputs_as_examples_or_none(count):
    assert isinstance(poll("ForwardBackward", OUTPUT | {"loss_fn_outputs": [{}] * count}), Unreadable)


def test_outputs_that_a_server_leaves_out_keep_their_places():
    """What comes from the next request of the same call must not be taken for this one's."""
    read = training_result("ForwardBackward", 3, "application/json", b'{"loss_fn_outputs":[],"metrics":{"a:mean":1}}')
    assert read.loss_fn_outputs == [{}, {}, {}]


def test_a_request_knows_how_many_results_it_has():
    assert sample(ModelInput.from_ints([1]), 4, {"max_tokens": 1}).expected == 4


# ---------------------------------------------------------------- odd encodings


@pytest.mark.parametrize("asked", OPERATIONS)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"])
def test_results_are_read_in_every_encoding_of_json(asked, encoding):
    assert isinstance(poll(asked, json.dumps(RESULTS[asked]).encode(encoding)), Done)
    outcome = poll(asked, json.dumps({"error": "no r\u00f6om"}).encode(encoding))
    assert isinstance(outcome, Failed)
    assert outcome.error.message == "no r\u00f6om"


def test_half_a_character_in_a_message_can_be_printed():
    outcome = poll("OptimStep", b'{"error":"bad \\ud800 token"}')
    assert outcome.error.message.encode() == b"bad ? token"
