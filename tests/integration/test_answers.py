"""Answers that come whole and are odd, damaged or no success: the real client, and a server that somebody spoils."""

from __future__ import annotations

import json
import math

import pytest

import tinker_actors as ta

from .between import Between
from .conftest import HANG
from .helpers import datum, prompt

PROTOBUF = "application/x-protobuf"


@pytest.fixture
def through(server):
    """Return a client of the embedded server whose answers a function spoils, and what is between them."""
    open_ones = []

    def begin(spoil):
        between = Between(server.url, spoil).__enter__()
        service = ta.ServiceClient(base_url=between.url)
        open_ones.append((between, service))
        return service, between

    yield begin
    for between, service in open_ones:
        service.close()
        between.__exit__()


def polls(between, kind):
    return [asked for asked in between.of("retrieve_future") if asked.headers["x-tinker-request-type"] == kind]


def train(service):
    trainer = service.create_lora_training_client("local/tiny", rank=4, seed=0)
    losses = []
    for _ in range(3):
        gradient = trainer.forward_backward([datum()] * 2, "cross_entropy")
        trainer.optim_step({"learning_rate": 0.05}).result(HANG)
        losses.append(gradient.result(HANG).metrics["loss:sum"])
    return losses


def test_a_result_whose_protobuf_is_damaged_is_asked_for_in_json_and_the_step_is_whole(through, service):
    def spoil(asked):
        if asked.content_type == PROTOBUF:
            asked.answer = asked.answer[:-3]

    spoiled, between = through(spoil)
    assert train(spoiled) == pytest.approx(train(service), rel=1e-6)
    accepted = [asked.headers["accept"] for asked in polls(between, "ForwardBackward")]
    assert PROTOBUF in accepted[0]
    assert "application/json" in accepted
    sampler = spoiled.create_sampling_client(base_model="local/tiny")
    drawn = sampler.sample(prompt("a"), 2, {"max_tokens": 3, "seed": 1}).result(HANG)
    assert [len(sequence.tokens) for sequence in drawn.sequences] == [3, 3]


def test_damage_on_the_way_costs_one_more_poll(through):
    struck = []

    def spoil(asked):
        if asked.name == "retrieve_future" and PROTOBUF in (asked.content_type, asked.headers["accept"]) and not struck:
            struck.append(asked)
            asked.answer = b"\xff" + asked.answer[1:]

    service, between = through(spoil)
    trainer = service.create_lora_training_client("local/tiny", rank=4)
    assert math.isfinite(trainer.forward_backward([datum()], "cross_entropy").result(HANG).metrics["loss:sum"])
    assert len(struck) == 1
    first, *others = polls(between, "ForwardBackward")
    assert all(PROTOBUF in asked.headers["accept"] for asked in (first, *others))


def test_a_gradient_whose_result_nobody_can_read_fails_and_so_does_the_step_that_was_sent_behind_it(through):
    def spoil(asked):
        if asked.name == "retrieve_future" and asked.headers["x-tinker-request-type"] == "ForwardBackward":
            asked.answer = b"{"

    service, _ = through(spoil)
    trainer = service.create_lora_training_client("local/tiny", rank=4)
    gradient = trainer.forward_backward([datum()], "cross_entropy")
    step = trainer.optim_step({"learning_rate": 0.1})
    with pytest.raises(ta.APIResponseValidationError) as caught:
        gradient.result(HANG)
    assert caught.value.outcome == "unknown"
    with pytest.raises(ta.StepTaintedError) as tainting:
        step.result(HANG)
    assert tainting.value.outcome == "applied"


def test_nan_in_metrics_reaches_who_needs_it(through):
    def spoil(asked):
        if asked.name == "retrieve_future" and asked.headers["x-tinker-request-type"] == "OptimStep":
            asked.answer = b'\xef\xbb\xbf{"type":"optim_step","metrics":{"grad_norm":NaN,"lr":-Infinity}}'

    service, _ = through(spoil)
    trainer = service.create_lora_training_client("local/tiny", rank=4)
    trainer.forward_backward([datum()], "cross_entropy")
    metrics = trainer.optim_step().result(HANG).metrics
    assert math.isnan(metrics["grad_norm"])
    assert metrics["lr"] == -math.inf


@pytest.mark.parametrize("written", ["utf-16", "utf-8-sig"])
def test_a_server_may_write_its_json_as_it_likes(through, written):
    def spoil(asked):
        if asked.content_type == "application/json":
            asked.answer = json.dumps(json.loads(asked.answer)).encode(written)

    service, _ = through(spoil)
    assert len(train(service)) == 3
    assert service.get_server_capabilities().supported_models


@pytest.mark.parametrize("kind", ["OptimStep", "LoadWeights", "SaveWeights", "SaveWeightsForSampler"])
@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"type": "RequestFailedResponse", "error_message": "out of memory"}, ta.RequestFailedError),
        ({}, ta.APIResponseValidationError),
    ],
)
def test_what_shows_no_success_fails(through, kind, body, error):
    def spoil(asked):
        if asked.name == "retrieve_future" and asked.headers["x-tinker-request-type"] == kind:
            asked.answer = json.dumps(body).encode()

    service, _ = through(spoil)
    trainer = service.create_lora_training_client("local/tiny", rank=4)
    path = trainer.save_state("a").result(HANG).path if kind == "LoadWeights" else ""
    call = {
        "OptimStep": trainer.optim_step,
        "LoadWeights": lambda: trainer.load_state(path),
        "SaveWeights": lambda: trainer.save_state("b"),
        "SaveWeightsForSampler": lambda: trainer.save_weights_for_sampler("c"),
    }[kind]
    trainer.forward_backward([datum()], "cross_entropy").result(HANG)
    with pytest.raises(error) as caught:
        call().result(HANG)
    if body:
        assert "out of memory" in str(caught.value)


@pytest.mark.parametrize("name", ["config", "create_session", "create_sampling_session"])
def test_a_damaged_reply_is_asked_for_again(through, name):
    struck = []

    def spoil(asked):
        if asked.name == name and not struck:
            struck.append(asked)
            asked.answer = asked.answer[:-1]

    service, between = through(spoil)
    sampler = service.create_sampling_client(base_model="local/tiny")
    assert sampler.sample(prompt("a"), 1, {"max_tokens": 1}).result(HANG).sequences
    assert len(between.of(name)) == 2


CREATING = ["create_session", "create_sampling_session", "join_sampling_session", "create_model"]
OPERATIONS = ["asample", "forward_backward", "optim_step", "save_weights", "load_weights"]


def test_what_is_sent_again_carries_the_same_key(through):
    """Each creation and each operation is answered with an error once, after the server has done it."""
    struck = set()

    def spoil(asked):
        if asked.name in [*CREATING, *OPERATIONS] and asked.name not in struck:
            struck.add(asked.name)
            asked.status, asked.answer = 503, b'{"detail":"busy"}'

    service, between = through(spoil)
    sampler = service.create_sampling_client(base_model="local/tiny")
    trainer = service.create_lora_training_client("local/tiny", rank=4)
    handle = sampler.get_sampler_handle()
    copy = ta.SamplingClient.from_sampler_handle(handle, base_url=between.url)
    for each in (sampler, copy):
        each.sample(prompt("a"), 1, {"max_tokens": 1}).result(HANG)
    trainer.forward_backward([datum()], "cross_entropy").result(HANG)
    trainer.optim_step().result(HANG)
    path = trainer.save_state("again", overwrite=True).result(HANG).path
    trainer.load_state(path).result(HANG)
    assert struck == {*CREATING, *OPERATIONS}
    keys = []
    for name in struck:
        first, second = [asked.headers.get("x-idempotency-key") for asked in between.of(name)[:2]]
        assert first is not None, name
        assert first == second, name
        keys.append(first)
    assert len(set(keys)) == len(keys)
    for asked in between.log:
        if asked.name in ("retrieve_future", "session_heartbeat"):
            assert "x-idempotency-key" not in asked.headers
