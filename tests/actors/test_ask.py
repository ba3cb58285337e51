"""Asking the server: how an answer comes back to an actor, and how it settles a future."""

from __future__ import annotations

import msgspec
import pytest

from tinker_actors.actors.ask import ask, ask_for
from tinker_actors.actors.messages import CallFailed, Replied
from tinker_actors.errors import TinkerError
from tinker_actors.protocol.endpoints import ENDPOINTS
from tinker_actors.protocol.replies.outcomes import Done
from tinker_actors.runtime.actor import RuntimeActor
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.progress import Tracker
from tinker_actors.testing.step import StepRuntime
from tinker_actors.types.wire import SessionHeartbeatRequest


class Lanes:
    """Lanes that keep what they are given."""

    def __init__(self):
        self.calls = []

    def call(self, lane, call):
        assert lane == "control"
        self.calls.append(call)


class Asker(RuntimeActor):
    """Keeps what it is told."""

    def __init__(self, executor):
        super().__init__(executor)
        self.told = []

    def receive(self, message):
        self.told.append(message)


@pytest.fixture
def stage():
    runtime = StepRuntime(seed=1)
    asker = Asker(runtime)
    runtime.run(asker)
    return runtime, asker, Lanes()


def test_an_actor_is_told_the_answer_to_what_it_asked(stage):
    runtime, asker, lanes = stage
    ask(lanes, asker.actor_ref, "session_heartbeat", SessionHeartbeatRequest(session_id="s"), timeout=3.0)
    (call,) = lanes.calls
    assert (call.method, call.path, call.timeout) == ("POST", "/api/v1/session_heartbeat", 3.0)
    assert msgspec.json.decode(call.body) == {"type": "session_heartbeat", "session_id": "s"}
    assert (call.retried, call.idempotency_key) == (False, "")
    call.on_done(Done("well"))
    runtime.run_until(lambda: asker.told)
    (replied,) = asker.told
    assert isinstance(replied, Replied)
    assert (replied.to, replied.outcome.value) == ("session_heartbeat", "well")


def test_it_is_told_failures_too_and_in_its_own_words(stage):
    runtime, asker, lanes = stage
    ask(lanes, asker.actor_ref, "get_sampler", to="mine", sampler_id="a/b")
    (call,) = lanes.calls
    assert (call.method, call.path, call.body) == ("GET", "/api/v1/samplers/a%2Fb", b"")
    call.on_failed(TinkerError("no"))
    runtime.run_until(lambda: asker.told)
    (failed,) = asker.told
    assert isinstance(failed, CallFailed)
    assert (failed.to, failed.error.message) == ("mine", "no")


@pytest.mark.parametrize("endpoint", ["create_session", "get_info", "get_server_capabilities"])
def test_an_answer_is_read_as_the_endpoint_says(stage, endpoint):
    _, asker, lanes = stage
    ask(lanes, asker.actor_ref, endpoint)
    assert lanes.calls[0].read is ENDPOINTS[endpoint].read


def test_a_future_gets_what_is_wanted_of_the_answer():
    lanes, future = Lanes(), APIFuture(Tracker("get_base_model", 0.0))
    ask_for(lanes, future, "get_sampler", take=lambda sampler: sampler["base_model"], sampler_id="x")
    lanes.calls[0].on_done(Done({"base_model": "b"}))
    assert future.result(0) == "b"


def test_a_future_gets_the_error():
    lanes, future = Lanes(), APIFuture(Tracker("get_server_capabilities", 0.0))
    ask_for(lanes, future, "get_server_capabilities")
    lanes.calls[0].on_failed(TinkerError("no"))
    with pytest.raises(TinkerError, match="no"):
        future.result(0)
