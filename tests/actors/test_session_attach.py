"""Attaching: a session opened elsewhere is kept alive from here, and a copy of its sampler takes a number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tinker_actors.actors.lane.work import Call, SessionLink
from tinker_actors.actors.registry import sampler_keys
from tinker_actors.actors.sampler import Sampling
from tinker_actors.actors.service import Service
from tinker_actors.actors.session.actor import Session
from tinker_actors.actors.session.messages import FinishSession, Meet, Met, SessionSettings
from tinker_actors.config import resolve
from tinker_actors.errors import (
    APIResponseValidationError,
    ClientClosedError,
    ConfigError,
    SessionLostError,
    TinkerError,
)
from tinker_actors.protocol.replies.outcomes import Done
from tinker_actors.protocol.replies.plain import CLONE_RANGE
from tinker_actors.runtime.actor import RuntimeActor
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.progress import Tracker
from tinker_actors.testing.step import StepRuntime

SAMPLER = "session-1:sample:0"
SAID = b'{"sample_join_sampling_session": true, "something_new": 1}'
JSON = "application/json"


class Lanes:
    """Lanes that keep what they are to send, for the test to answer."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.dropped: list[Any] = []

    def call(self, _lane: str, call: Call) -> None:
        self.calls.append(call)

    def broadcast(self, message: Any) -> None:
        self.dropped.append(message)

    def wake_sampling(self, message: Any) -> None:
        pass

    def leave(self, _link: Any) -> bool:
        return False


class Ear(RuntimeActor):
    """Keeps what it is told."""

    def __init__(self, runtime: StepRuntime) -> None:
        super().__init__(runtime)
        self.heard: list[Any] = []

    def receive(self, message: Any) -> None:
        self.heard.append(message)


class Stage:
    """A session and samplers of it, on a step runtime and with lanes of the test's own."""

    def __init__(self, **settings: Any) -> None:
        self.runtime = StepRuntime(0)
        self.lanes = Lanes()
        platform: Any = type("Platform", (), {"control": self.runtime, "delivery": self.runtime})
        config = resolve(base_url="http://127.0.0.1:1", env={})
        self.service = Service(config, platform, self.lanes, SessionLink())  # type: ignore[arg-type]
        self.ear = Ear(self.runtime)
        self.service.registry = self.ear.actor_ref
        self.service.session = Session.start(self.service, SessionSettings(**settings))
        self.settle()

    def settle(self) -> None:
        """Let the actors talk until they have nothing to say; timers don't run."""
        while self.runtime._ready or self.runtime._callbacks:
            self.runtime.step()

    def sent(self) -> list[str]:
        """Names of the calls that are not answered."""
        return [call.what for call in self.lanes.calls]

    def take(self, what: str) -> Call:
        call = next(call for call in self.lanes.calls if call.what == what)
        self.lanes.calls.remove(call)
        return call

    def answer(self, what: str, **fields: Any) -> None:
        call = self.take(what)
        try:
            call.on_done(Done(call.read(JSON, msgspec.json.encode(fields))))
        except TinkerError as error:  # as a lane does when it has asked often enough
            call.on_failed(error)
        self.settle()

    def fail(self, what: str, error: TinkerError) -> None:
        self.take(what).on_failed(error)
        self.settle()

    def close(self, patience: float = 0.0) -> None:
        """End the session as a supervisor that ends does."""
        self.service.ended = ClientClosedError()
        self.service.session.tell(FinishSession("success", None, patience))
        self.settle()

    def copy(self, **facts: Any) -> Callable[[], Any]:
        """Start a copy of the sampler; return what gives its entry."""
        ready: APIFuture[Any] = APIFuture(Tracker("join", 0.0), delivery=self.runtime)
        Sampling.start(self.service, next(sampler_keys), ready, "here.py:1", copied=SAMPLER, **facts)
        self.settle()

        def entry() -> Any:
            assert ready.done(), f"not decided; sent: {self.sent()}"
            return ready.result(0)

        return entry


def test_an_attached_session_is_neither_asked_about_nor_created_and_beats_at_once():
    stage = Stage(session_id="session-1", said=SAID)
    assert stage.sent() == ["heartbeat"]
    assert stage.service.session_id == "session-1"
    assert msgspec.json.decode(stage.service.said) == msgspec.json.decode(SAID)
    assert stage.service.server.sample_join_sampling_session is True
    assert msgspec.json.decode(stage.lanes.calls[0].body)["session_id"] == "session-1"


def test_it_asks_for_what_it_was_not_told():
    stage = Stage(session_id="session-1")
    entry = stage.copy()
    assert stage.sent() == ["client_config"]
    stage.answer("client_config", sample_join_sampling_session=True)
    assert stage.sent() == ["heartbeat", "join_sampling_session"]
    stage.answer("join_sampling_session", client_counter=3)
    assert entry().clone_id == 3


def test_a_copy_joins_once_and_has_what_the_original_knew():
    stage = Stage(session_id="session-1", said=SAID)
    entry = stage.copy(base_model="b", model_path="tinker://x/sampler_weights/y", weights_version=7)
    call = stage.take("join_sampling_session")
    assert (call.method, call.path) == ("POST", "/api/v1/join_sampling_session")
    assert msgspec.json.decode(call.body) == {"type": "join_sampling_session", "sampling_session_id": SAMPLER}
    assert call.session is stage.service.link
    call.on_done(Done(call.read(JSON, b'{"type": "join_sampling_session", "client_counter": 5}')))
    stage.settle()
    made = entry()
    assert (made.state, made.clone_id, made.sampling_session_id) == ("ready", 5, SAMPLER)
    assert (made.base_model, made.weights_version) == ("b", 7)
    assert made.model_path == "tinker://x/sampler_weights/y"
    assert stage.sent() == ["heartbeat"]


def test_where_the_server_counts_no_copies_the_number_is_drawn():
    drawn = set()
    for _ in range(20):
        stage = Stage(session_id="session-1", said=b"{}")
        drawn.add(stage.copy()().clone_id)
        assert stage.sent() == ["heartbeat"]
    assert len(drawn) == 20
    assert all(1 <= number <= CLONE_RANGE for number in drawn)


@pytest.mark.parametrize("counter", [0, -1, CLONE_RANGE + 1, "x", None, 1.5])
def test_a_number_that_can_not_be_one_fails_the_copy(counter):
    stage = Stage(session_id="session-1", said=SAID)
    entry = stage.copy()
    stage.answer("join_sampling_session", client_counter=counter)
    with pytest.raises(APIResponseValidationError, match="client_counter"):
        entry()


def test_a_server_that_can_not_be_reached_fails_the_copy_with_its_own_error():
    stage = Stage(session_id="session-1", said=SAID)
    entry = stage.copy()
    stage.fail("join_sampling_session", TinkerError("nobody answers"))
    with pytest.raises(TinkerError, match="nobody answers") as error:
        entry()
    assert any("here.py:1" in note for note in error.value.__notes__)


def test_a_session_that_is_gone_fails_the_copies_and_later_ones():
    stage = Stage(session_id="session-1", said=SAID)
    entry = stage.copy()
    stage.fail("heartbeat", TinkerError("gone", status_code=410))
    assert len(stage.lanes.dropped) == 1
    for copied in (entry, stage.copy()):
        with pytest.raises(SessionLostError):
            copied()


def test_a_refused_session_sends_nothing_and_says_why():
    stage = Stage(session_id="session-1", said=SAID, refusal=ConfigError("no key"))
    entry = stage.copy()
    assert stage.sent() == []
    with pytest.raises(ConfigError, match="no key"):
        entry()


@pytest.mark.parametrize("said", [SAID, b""])
def test_the_end_of_an_attached_session_is_not_told_to_the_server(said):
    stage = Stage(session_id="session-1", said=said)
    before = stage.sent()
    stage.close()
    assert stage.sent() == before
    assert stage.service.over.done()
    assert not stage.service.session.is_alive()


def test_a_session_of_our_own_is_told_to_the_server_and_met_when_it_is_there():
    stage = Stage()
    stage.service.session.tell(Meet(stage.ear.actor_ref))
    stage.settle()
    stage.answer("client_config")
    assert stage.ear.heard == []
    stage.answer("create_session", type="create_session", session_id="session-9")
    assert isinstance(stage.ear.heard[0], Met)
    assert stage.service.session_id == "session-9"
    assert stage.sent() == []  # the first heartbeat has its time
    stage.close()
    assert stage.sent() == ["finish"]
    assert not stage.service.over.done()
    stage.answer("finish")
    assert stage.service.over.done()
    assert not stage.service.session.is_alive()


@pytest.mark.parametrize("answered", ["nothing", "client_config", "create_session"])
def test_the_end_of_a_session_waits_only_for_what_may_be_there_to_be_ended(answered):
    stage = Stage()
    if answered != "nothing":
        stage.answer("client_config")
    if answered == "create_session":
        stage.answer("create_session", type="create_session", session_id="session-9")
    stage.close()
    if answered == "nothing":
        assert stage.service.over.done(), "no session was asked for"
    else:
        assert not stage.service.over.done()
        began = stage.runtime.clock.now()
        stage.runtime.run_until(stage.service.over.done)  # nobody answers any more
        assert stage.runtime.clock.now() - began <= 2.0
        assert len(stage.runtime.timers) == 0, "no timer of an actor that has ended is left"
