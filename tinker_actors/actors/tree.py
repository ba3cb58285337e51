"""The tree: what runs in a service, in which order, and what happens when a part of it ends.

Start order, each with its reason:

1. Lanes: everything else sends through them. Shared between services; their own keeper restarts them.
2. Registry: samplers publish themselves as soon as they exist. Permanent: restarted with the same snapshot, and every
   sampler tells its entry again.
3. Session: opens through the lanes; models and samplers need its id. Temporary: a session that ended has failed
   what belonged to it, and later calls fail with the same error.
4. Training and Sampling actors, as the user asks for them. Temporary: the user holds their references, and a crashed
   one has failed its futures.

Ending goes the other way round: models and samplers first, so that nothing new is sent; then the session, which tells
the server; then the registry and the lanes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tinker_actors.actors.lanes import release_lanes
from tinker_actors.actors.messages import Republish, Shutdown
from tinker_actors.actors.registry import Registry
from tinker_actors.actors.sampling import Sampling
from tinker_actors.actors.service import Service
from tinker_actors.actors.session import Session, SessionSettings
from tinker_actors.actors.session_messages import Finished, FinishSession
from tinker_actors.errors import ActorCrashedError, ClientClosedError
from tinker_actors.events.records import ActorCrashed
from tinker_actors.runtime.actor import Ref, RuntimeActor, Terminated, logger, tell
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.supervisor import RestartIntensity


class Watch(msgspec.Struct, frozen=True, eq=False):
    """To the supervisor: this training or sampling actor is yours.

    Attributes:
        ref: the actor; the supervisor must be its monitor already.
        name: for people.
    """

    ref: Ref
    name: str


class Close(msgspec.Struct, frozen=True, eq=False):
    """To the supervisor: end the service.

    Attributes:
        status: `"success"`, `"errored"` or `"interrupted"`; told to the server.
        detail: a sentence about it, or None.
        done: settled when everything has ended.
    """

    status: str
    detail: str | None
    done: APIFuture[None]


class Keep(msgspec.Struct, frozen=True, eq=False):
    """To the supervisor: keep an object alive for a while, so that whoever comes back for it finds it.

    Attributes:
        held: the object.
        seconds: how long.
    """

    held: object
    seconds: float


class _LetGo(msgspec.Struct, frozen=True, eq=False):
    """To the supervisor, from itself: the time of something that was kept is over."""

    held: object


class Supervisor(RuntimeActor):
    """Owns the list of children of one service. `ServiceClient.actor_ref` refers to it."""

    def __init__(self, service: Service, settings: SessionSettings) -> None:
        super().__init__(service.platform.control)
        self._service = service
        self._children: dict[str, Ref] = {}
        self._restarts = RestartIntensity()
        self._closing: list[APIFuture[None]] = []
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
        elif isinstance(message, Terminated):
            self._ended(message)
        elif isinstance(message, Close):
            self._close(message)
        elif isinstance(message, Finished):
            self._finish()
        elif isinstance(message, Keep):
            self.tell_later(message.seconds, _LetGo(message.held))
        elif isinstance(message, _LetGo):
            pass  # the timer held it, and is gone
        elif isinstance(message, Children):
            return dict(self._children)
        else:
            super().receive(message)
        return None

    def describe(self) -> str:
        """Return how many children there are."""
        return f"{len(self._children)} children" + (", closing" if self._closing else "")

    def on_dead_letter(self, message: Any) -> None:
        """Answer a second close."""
        if isinstance(message, Close):
            message.done._settle(None)

    def on_failure(self, _kind: Any, error: BaseException | None, _traceback: Any) -> None:
        """End the whole service: without a supervisor nothing would be restarted or closed."""
        crash = ActorCrashedError(f"The supervisor crashed: {error!r}.")
        for ref in self._children.values():
            tell(ref, Shutdown(crash))
        release_lanes(self._service.lanes)
        for done in self._closing:
            done._settle(error=crash.replica())

    def _start_registry(self) -> None:
        registry = Registry(self._service)
        registry.monitor(self.actor_ref)
        self._service.registry = self._children["registry"] = registry.actor_ref
        registry.executor.run(registry)

    def _ended(self, message: Terminated) -> None:
        name = next((name for name, ref in self._children.items() if ref is message.ref), None)
        if name is None:
            return
        del self._children[name]
        if message.error is None or self._closing:
            return
        self._service.hub.emit(ActorCrashed(name, message.error))
        if name == "registry":
            self._restart_registry()

    def _restart_registry(self) -> None:
        if not self._restarts.allow(self.now()):
            error = ActorCrashedError("The registry crashed too often; the service is closed.")
            logger.error("%s", error.message)
            for ref in self._children.values():
                tell(ref, Shutdown(error))
            return
        self._start_registry()
        for ref in self._children.values():
            if ref.actor_class is Sampling:
                tell(ref, Republish())

    def _close(self, message: Close) -> None:
        self._closing.append(message.done)
        if len(self._closing) > 1:
            return
        error = ClientClosedError("The service client was closed.")
        for name, ref in self._children.items():
            if name not in ("registry", "session"):
                tell(ref, Shutdown(error))
        if not tell(self._service.session, FinishSession(message.status, message.detail, self.actor_ref)):
            self._finish()

    def _finish(self) -> None:
        tell(self._service.registry, Shutdown(ClientClosedError()))
        release_lanes(self._service.lanes)
        for done in self._closing:
            done._settle(None)
        self.stop()


class Children(msgspec.Struct, frozen=True, eq=False):
    """To the supervisor (asked): the children by name."""
