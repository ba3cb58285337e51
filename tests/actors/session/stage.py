"""A session and copies of samplers on it, on a step runtime and with lanes of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from tinker_actors.actors.lane.work import Call, SessionLink
from tinker_actors.actors.registry import Registry, sampler_keys
from tinker_actors.actors.sampler import Sampling
from tinker_actors.actors.service import Service
from tinker_actors.actors.session.actor import Session
from tinker_actors.actors.session.messages import FinishSession, SessionSettings
from tinker_actors.config import resolve
from tinker_actors.errors import (
    ClientClosedError,
    TinkerError,
)
from tinker_actors.protocol.replies.outcomes import Done
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
        self.service.registry = Registry.start(self.service)
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
