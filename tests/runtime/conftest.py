"""The worlds that actors live in: pykka's threads for comparison, our dispatcher, a lane's thread, a simulation."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pykka
import pytest

from tinker_actors.runtime.actor import RuntimeActor, Terminated
from tinker_actors.runtime.clock import MonotonicClock
from tinker_actors.runtime.delivery import DeliveryThread
from tinker_actors.runtime.dispatcher import Dispatcher
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.lane_thread import LaneThread
from tinker_actors.runtime.progress import Tracker
from tinker_actors.runtime.selector_inbox import SelectorInbox
from tinker_actors.testing.step import StepRuntime

from ..pykka_internals import start  # noqa: TID252 - the tests are no package that is installed

HANG = 30.0


class Script:
    """An actor's code for tests: a message that is callable is called with the actor; hooks are logged.

    `plans` names what the hooks do beside: `on_start=raising(ValueError)`.
    """

    def __init__(self, *args: Any, **plans: Any) -> None:
        super().__init__(*args)
        self.plans = plans
        self.log: list[Any] = []
        self.gone = threading.Event()

    def hook(self, name: str, *facts: Any) -> None:
        self.log.append((name, *facts))
        plan = self.plans.get(name)
        if plan is not None:
            plan(self)

    def on_start(self) -> None:
        self.hook("on_start")

    def on_stop(self) -> None:
        try:
            self.hook("on_stop")
        finally:
            self.gone.set()

    def on_failure(self, kind, error, traceback) -> None:
        assert type(error) is kind
        assert error.__traceback__ is traceback
        try:
            self.hook("on_failure", error)
        finally:
            self.gone.set()

    def receive(self, message: Any) -> Any:
        if callable(message):
            return message(self)
        if message == "unknown":
            return super().receive(message)
        self.log.append(message)
        return message

    def on_dead_letter(self, message: Any) -> None:
        self.hook("on_dead_letter", message)

    def double(self, number: int) -> int:
        return 2 * number


class Ours(Script, RuntimeActor):
    offered = ("stop", "double", "receive", "log")


class Theirs(Script, pykka.ThreadingActor):
    def on_receive(self, message: Any) -> Any:
        return pykka.ThreadingActor.on_receive(self, message) if message == "unknown" else self.receive(message)


class Watcher(RuntimeActor):
    """Monitors others."""

    def __init__(self, executor) -> None:
        super().__init__(executor)
        self.heard: list[Terminated] = []

    def receive(self, message: Any) -> Any:
        if isinstance(message, Terminated):
            self.heard.append(message)
        return list(self.heard)


# Dispatchers live as long as the process does; one for the actors that are tested, one that a defect can't take down.
_dispatcher, _watchers = Dispatcher(), Dispatcher()


class World:
    """Runs actors and waits for them, whoever drives them."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.step = StepRuntime(seed=1) if kind == "step" else None
        self._lanes: list[pykka.ActorRef] = []

    def executor(self):
        """Return what runs the next actor."""
        if self.kind == "lane":
            clock = MonotonicClock()
            return LaneThread("test-lane", SelectorInbox(clock), clock)
        return self.step or _dispatcher

    def make(self, **plans: Any) -> Any:
        """Return an actor that does not run yet."""
        return Theirs(**plans) if self.kind == "pykka" else Ours(self.executor(), **plans)

    def start(self, actor: Any) -> pykka.ActorRef:
        """Run it."""
        if isinstance(actor, pykka.ThreadingActor):
            start(actor)
        else:
            actor.executor.run(actor)
        if self.kind == "lane":
            self._lanes.append(actor.actor_ref)
        return actor.actor_ref

    def spawn(self, **plans: Any) -> tuple[Any, pykka.ActorRef]:
        actor = self.make(**plans)
        return actor, self.start(actor)

    def pump(self) -> None:
        """Where a test drives the actors: let them do all they can."""
        while self.step is not None and self.step.step():
            pass

    def get(self, future: pykka.Future) -> Any:
        self.pump()
        return future.get(timeout=0 if self.step else HANG)

    def ask(self, ref: pykka.ActorRef, message: Any) -> Any:
        return self.get(ref.ask(message, block=False))

    def stop(self, ref: pykka.ActorRef) -> bool:
        return self.get(ref.stop(block=False))

    def wait(self, event: threading.Event) -> None:
        self.pump()
        assert event.wait(0 if self.step else HANG)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that no event announces."""
        if self.step is None:
            _until(condition)
        else:
            self.pump()
            assert condition()

    def wait_gone(self, actor: Any) -> None:
        """Wait until an actor has run its last hook."""
        self.wait(actor.gone)

    def watch(self, actor: RuntimeActor) -> Any:
        """Monitor an actor that does not run yet; return a function that waits for its end and tells its error."""
        watcher = Watcher.start(self.step or _watchers)
        actor.monitor(watcher)

        def ended() -> BaseException | None:
            self.until(lambda: bool(self.ask(watcher, "?")))
            (terminated,) = self.ask(watcher, "?")
            assert terminated.ref is actor.actor_ref
            return terminated.error

        return ended

    def close(self) -> None:
        for ref in self._lanes:
            ref.stop(block=True, timeout=HANG)


@pytest.fixture(params=["pykka", "dispatcher", "lane", "step"])
def any_world(request):
    """Every way to run an actor, pykka's own included."""
    world = World(request.param)
    yield world
    world.close()
    pykka.ActorRegistry.stop_all(block=True, timeout=HANG)


@pytest.fixture(params=["dispatcher", "lane", "step"])
def world(request):
    """Every way to run an actor of ours."""
    world = World(request.param)
    yield world
    world.close()


@pytest.fixture(params=["dispatcher", "step"])
def shared_world(request):
    """Every way to run many actors on one thread."""
    return World(request.param)


# ---------------------------------------------------------------- futures


def _training(**options: Any) -> APIFuture[Any]:
    return APIFuture(Tracker("forward_backward", 0.0), **options)


def _sample(**options: Any) -> tuple[APIFuture[Any], list[Any]]:
    cancelled: list[Any] = []
    return APIFuture(Tracker("sample", 0.0), on_cancel=cancelled.append, **options), cancelled


def _in_thread(function: Callable[[], Any]) -> Callable[[], Any]:
    outcome: list[tuple[Any, BaseException | None]] = []

    def run() -> None:
        try:
            outcome.append((function(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run)
    thread.start()

    def join() -> Any:
        thread.join(HANG)
        ((value, error),) = outcome
        if error is not None:
            raise error
        return value

    return join


def _until(condition: Callable[[], Any]) -> None:
    poll = threading.Event()
    for _ in range(int(HANG / 0.001)):
        if condition():
            return
        poll.wait(0.001)
    raise AssertionError("the condition never came true")


@pytest.fixture
def training():
    """Return a maker of futures of a training operation."""
    return _training


@pytest.fixture
def sample():
    """Return a maker of a sample's future and the list of what its `on_cancel` was called with."""
    return _sample


@pytest.fixture
def in_thread():
    """Return what starts a thread, and gives a function that joins it and gives what its function gave or raised."""
    return _in_thread


@pytest.fixture
def until():
    """Return what waits for a condition that no event announces."""
    return _until


@pytest.fixture
def blocked_reader():
    """Return what starts a thread that waits in `result()`, and gives a function that gives what it got."""

    def start(future):
        join = _in_thread(future.result)
        _until(lambda: future._watchers)
        return join

    return start


@pytest.fixture
def settle_in_thread():
    """Return what settles a future in another thread."""

    def settle(future, *args, **kwargs):
        thread = threading.Thread(target=future._settle, args=args, kwargs=kwargs)
        thread.start()
        return thread

    return settle


@pytest.fixture
def delivery():
    """Return a delivery thread of its own."""
    return DeliveryThread()


@pytest.fixture
def errors_in():
    """Return what lists the ERROR records of a log."""
    return lambda caplog: [record for record in caplog.records if record.levelno >= logging.ERROR]
