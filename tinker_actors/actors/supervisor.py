"""The tree: what runs in a service, in which order, and what happens when a part of it ends.

Start order, each with its reason:

1. Lanes: everything else sends through them. Shared between services; their own keeper restarts them.
2. Registry: samplers publish themselves as soon as they exist. Permanent: restarted with the same snapshot, and every
   sampler tells its entry again.
3. Session: opens through the lanes; models and samplers need its id. Temporary: a session that ended has failed
   what belonged to it, and later calls fail with the same error.
4. Training and Sampling actors, as the user asks for them. Temporary: the user holds their references, and a crashed
   one has failed its futures.

Closing drains (`draining.py`) and then ends the supervisor. Its end, for whatever reason, ends the service the other
way round: models and samplers first, so that nothing new is sent; then the session, which tells the server and, as the
last, lets go of the registry and the lanes.
"""

from __future__ import annotations

import math
import weakref
from typing import Any

import msgspec

from tinker_actors.actors.draining import Decided, Draining
from tinker_actors.actors.lane.keeper import give_up_lanes, shared_lanes
from tinker_actors.actors.lane.work import SessionLink
from tinker_actors.actors.messages import PublishPolicy, Republish, Shutdown
from tinker_actors.actors.platform import Platform
from tinker_actors.actors.registry import Registry
from tinker_actors.actors.sampler import Sampling
from tinker_actors.actors.service import ForRegistry, Service
from tinker_actors.actors.session.actor import Session
from tinker_actors.actors.session.messages import FinishSession, SessionSettings
from tinker_actors.config import Config
from tinker_actors.errors import ActorCrashedError, ClientClosedError, TinkerError
from tinker_actors.events.records import ActorCrashed
from tinker_actors.protocol.consequences import unanswered
from tinker_actors.runtime.actor import Ref, RuntimeActor, Terminated, logger, tell
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.restarts import RestartIntensity

# Seconds for which telling the server that a service has ended may be tried again, where so much time is left.
_FAREWELL = 5.0


class Watch(msgspec.Struct, frozen=True, eq=False):
    """To the supervisor: this training or sampling actor is yours.

    Attributes:
        ref: the actor; the supervisor must be its monitor already.
        name: for people.
    """

    ref: Ref
    name: str


class Close(msgspec.Struct, frozen=True, eq=False):
    """To the supervisor: finish what is in flight, then end the service; `Service.over` is settled then.

    May be told again: of several, the earliest deadline holds, and status and detail of the first.

    Attributes:
        status: `"success"`, `"errored"` or `"interrupted"`; told to the server.
        detail: a sentence about it, or None.
        patience: seconds to wait for what is in flight.
    """

    status: str
    detail: str | None
    patience: float


class Keep(msgspec.Struct, frozen=True, eq=False):
    """To the supervisor: keep an object alive for a while, so that whoever comes back for it finds it.

    Attributes:
        held: the object.
        seconds: how long.
    """

    held: object
    seconds: float


class Expire(msgspec.Struct, frozen=True, eq=False):
    """To the supervisor: fail a future in a while, unless it is decided or gone by then.

    Attributes:
        future: what is to be failed.
        seconds: how long from now.
    """

    future: weakref.ref[APIFuture[Any]]
    seconds: float


class _TimeIsUp(msgspec.Struct, frozen=True, eq=False):
    """To the supervisor, from itself: a deadline for what is in flight may be over."""


class _Due(msgspec.Struct, frozen=True, eq=False):
    """To the supervisor, from itself: the time of something that was kept, or of a future, is over."""

    message: Keep | Expire


class Supervisor(RuntimeActor):
    """Owns the list of children of one service. `ServiceClient.actor_ref` refers to it."""

    title = "service"

    def __init__(self, service: Service, settings: SessionSettings) -> None:
        super().__init__(service.platform.control)
        self._service = service
        self._children: dict[str, Ref] = {}
        self._names: dict[str, str] = {}  # of the others than registry and session, by what pykka calls them
        self._restarts = RestartIntensity()
        self._farewell: Close | None = None
        self._deadline = math.inf
        self._draining: Draining | None = None
        service.supervisor = self.actor_ref
        # Here and not in on_start: the caller goes on with the references at once.
        self._start_registry()
        session = Session(service, settings)
        session.monitor(self.actor_ref)
        service.session = self._children["session"] = session.actor_ref
        service.link.ref = session.actor_ref
        session.executor.run(session)

    def receive(self, message: Any) -> Any:
        """Handle a message; see the classes of this module."""
        if isinstance(message, Watch):
            if message.ref.is_alive():
                self._children[message.name] = message.ref
                self._names[message.ref.actor_urn] = message.name
        elif isinstance(message, Terminated):
            self._ended(message)
        elif isinstance(message, Close):
            self._close(message)
        elif isinstance(message, Decided | _TimeIsUp):
            self._drain()
        elif isinstance(message, ForRegistry):
            if not tell(self._service.registry, message.message):
                tell(self.actor_ref, message)  # behind the news that it has ended, which brings its successor
        elif isinstance(message, Keep | Expire):
            self.tell_later(message.seconds, _Due(message))
        elif isinstance(message, _Due):
            _end_time(message.message)
        elif isinstance(message, Children):
            return dict(self._children)
        else:
            super().receive(message)
        return None

    def describe(self) -> str:
        """Return how many children there are."""
        return f"{len(self._children)} children" + (", closing" if self._farewell else "")

    def on_dead_letter(self, message: Any) -> None:
        """End what was started too late, and fail what was published too late."""
        assert self.ending is not None
        if isinstance(message, Watch):
            tell(message.ref, Shutdown(self.ending))
        elif isinstance(message, ForRegistry) and isinstance(message.message, PublishPolicy):
            message.message.future._settle(error=self.ending.replica())

    def settle(self, error: TinkerError) -> None:
        """End the whole service: without a supervisor nothing would be restarted or closed."""
        service = self._service
        service.ended = ended = service.ended or error
        service.lanes.queue_budget.dismiss(service)
        for name, ref in self._children.items():
            if name not in ("registry", "session"):
                tell(ref, Shutdown(ended))
        for question in service.questions.copy():
            question._settle(error=ended.replica())
        farewell = self._farewell or Close("interrupted", error.message, 0.0)
        patience = min(max(self._deadline - self.now(), 0.0), _FAREWELL) if self._farewell else _FAREWELL
        if not tell(service.session, FinishSession(farewell.status, farewell.detail, patience)):
            service.let_go()

    def _start_registry(self) -> None:
        registry = Registry(self._service)
        registry.monitor(self.actor_ref)
        self._service.registry = self._children["registry"] = registry.actor_ref
        registry.executor.run(registry)

    def _ended(self, message: Terminated) -> None:
        name = self._names.pop(message.ref.actor_urn, None)
        if name is None:
            name = next((name for name in ("registry", "session") if self._children.get(name) is message.ref), None)
        if name is None:
            return
        del self._children[name]
        if message.error is not None:
            self._service.hub.emit(ActorCrashed(name, message.error))
        if name == "registry":
            self._restart_registry()

    def _restart_registry(self) -> None:
        if not self._restarts.allow(self.now()):
            error = ActorCrashedError("The registry ended too often; the service is closed.")
            logger.error("%s", error.message)
            self.end(error)
            return
        self._start_registry()
        for ref in self._children.values():
            if ref.actor_class is Sampling:
                tell(ref, Republish())

    def _close(self, message: Close) -> None:
        service = self._service
        service.ended = service.ended or ClientClosedError("The service client was closed.")
        service.lanes.queue_budget.dismiss(service)
        self._farewell = self._farewell or message
        self._draining = self._draining or Draining(service, self._children, self.actor_ref)
        deadline = self.now() + message.patience
        if deadline < self._deadline:
            self._deadline = deadline
            self.tell_later(message.patience, _TimeIsUp())
        self._drain()

    def _drain(self) -> None:
        """End when nothing is in flight any more, or when the time for it is over."""
        assert self._draining is not None
        service = self._service
        assert service.ended is not None
        if self._draining.go_on():
            self.end(service.ended)
        elif self.now() >= self._deadline:
            service.ended = unanswered(service.ended, service.lanes.server.trouble)
            self.end(service.ended)


def _end_time(message: Keep | Expire) -> None:
    # What was kept was held by the timer, which is gone.
    future = message.future() if isinstance(message, Expire) else None
    if future is not None and not future.done():
        error = future._too_late(message.seconds)
        error.future = None  # it is not the waiting that is over
        future._settle(error=error)


class Children(msgspec.Struct, frozen=True, eq=False):
    """To the supervisor (asked): the children by name."""


def open_service(config: Config, platform: Platform, settings: SessionSettings) -> Service:
    """Return a new service on the process's lanes for its address and key, its supervisor running.

    Who is interrupted here (Ctrl-C) leaves nothing that runs.

    Raises:
        RuntimeError: the process can't have another thread.
    """
    link = SessionLink()
    service: Service | None = None
    try:
        service = Service(config, platform, shared_lanes(config, platform, link), link)
        Supervisor.start(service, settings)
        return service  # noqa: TRY300 - an interrupt may come here too
    except BaseException:
        if service is None:
            give_up_lanes(link)
        else:
            give_up(service)
        raise


def give_up(service: Service) -> None:
    """End a service that nobody will hold, however far it has come. Waits for nothing."""
    if hasattr(service, "session"):
        tell(service.supervisor, Close("interrupted", "it was being opened", 0.0))
    else:
        service.let_go()
