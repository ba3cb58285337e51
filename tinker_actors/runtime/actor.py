"""Actors: a pykka actor type that any executor can run.

pykka's own actors have a thread each, register themselves process-wide, and stop every actor of the process when a
`BaseException` escapes one of them. Ours are run by an executor (a shared dispatcher, a lane's thread, or a
simulation), stay out of the registry, and keep their failures to themselves.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import msgspec
import pykka

from tinker_actors.errors import ActorCrashedError, ClientClosedError, TinkerError
from tinker_actors.runtime.actor_ref import RuntimeRef
from tinker_actors.runtime.clock import Clock
from tinker_actors.runtime.pykka_internals import ActorStop, ActorType, Envelope, Inbox, PykkaMessage
from tinker_actors.runtime.reply import Reply
from tinker_actors.runtime.threads import log_failure
from tinker_actors.runtime.timers import Timer, Timers

logger = logging.getLogger("tinker_actors")

Ref = pykka.ActorRef[Any]


class Executor(Protocol):
    """Runs actors: decides on which thread, and keeps their timers."""

    timers: Timers

    @property
    def clock(self) -> Clock:
        """The clock of its timers."""
        ...

    def inbox_for(self, actor: RuntimeActor) -> Inbox:
        """Return the inbox of a new actor."""
        ...

    def run(self, actor: RuntimeActor) -> None:
        """Begin to run an actor: first its `on_start`, then its messages."""
        ...


class Terminated(msgspec.Struct, frozen=True, eq=False):
    """Told to an actor's monitors when it ended.

    Attributes:
        ref: the actor that ended.
        error: what killed it, or None when it stopped as asked.
    """

    ref: Ref
    error: BaseException | None


class Ping(msgspec.Struct, frozen=True, eq=False):
    """Ask (never tell): answered with True by every live actor. The only proof of life there is."""


class Describe(msgspec.Struct, frozen=True, eq=False):
    """Ask: answered with the actor's one-line state, for people."""


class RuntimeActor(ActorType):
    """Base of all actors of this package: a state machine that never blocks.

    A message told to it that raises kills it (`on_failure`, then its monitors hear `Terminated`); a message asked
    that raises gives the exception to the asker, as in pykka.

    Whatever ends it, pykka's stop, a crash or its own `end`, and however far it had come, `settle` runs once, on the
    thread that runs the actor. That is where it fails what it still owes; nothing else has to know how it ended.

    Args:
        executor: what runs the actor.

    Attributes:
        title: what it is called in errors.
        offered: what pykka's proxies may call and read of it. Nothing may be set.
        executor: what runs the actor.
        ending: why it ends or has ended; what was owed and what comes too late fails with a copy of it.
        ended: whether everything was settled and the monitors were told.
    """

    title: ClassVar[str] = "actor"
    offered: ClassVar[tuple[str, ...]] = ("stop",)

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        super().__init__()
        self._monitors: list[Ref] = []
        self._alarms: set[Timer] = set()
        self.ending: TinkerError | None = None
        self.ended = False

    if TYPE_CHECKING:

        @property
        def actor_ref(self) -> RuntimeRef[Self]:
            """The actor's reference."""
            ...

    @classmethod
    def start(cls, *args: Any, **kwargs: Any) -> pykka.ActorRef[Self]:
        """Create and run the actor, outside pykka's process-wide registry."""
        actor = cls(*args, **kwargs)
        actor.run()
        return actor.actor_ref

    def make_inbox(self) -> Inbox:
        """Return the inbox that the executor has for it."""
        return self.executor.inbox_for(self)

    def make_ref(self) -> RuntimeRef[Any]:
        """Return the actor's reference."""
        return RuntimeRef(self)

    @staticmethod
    def make_reply() -> pykka.Future[Any]:
        """Return the future that an asker is given."""
        return Reply()

    def run(self) -> None:
        """Have the executor run it, beginning with its `on_start`."""
        self.executor.run(self)

    # ------------------------------------------------------------ for subclasses

    def receive(self, message: Any) -> Any:
        """Handle one message; return the reply for an asker."""
        return super().on_receive(message)

    def describe(self) -> str:
        """Return the state in one line, for people."""
        return "running"

    def settle(self, error: TinkerError) -> None:
        """Fail everything that the actor owes. Called once, when it ends, maybe before its `on_start`.

        Args:
            error: why it ends; each future gets a copy.
        """

    def on_dead_letter(self, message: Any) -> None:
        """Settle what a message promised that killed the actor or came after its end. Runs where the actor ran."""

    def end(self, error: TinkerError) -> None:
        """End now: settle with `error`; what comes behind is a dead letter. Only from the actor's own code."""
        self._conclude(error, None, self.on_stop, "on_stop")

    def now(self) -> float:
        """Return the time on the executor's clock, in seconds."""
        return self.executor.clock.now()

    def tell_later(self, delay: float, message: Any) -> Timer:
        """Tell this actor `message` after `delay` seconds, unless it ends before. Only from the actor's own code."""

        def ring() -> None:
            self._alarms.discard(timer)
            tell(self.actor_ref, message)

        timer = self.executor.timers.call_at(self.now() + delay, ring)
        self._alarms.add(timer)
        return timer

    def monitor(self, ref: Ref) -> None:
        """Have `ref` told `Terminated` when this actor ends. Only before start or from the actor's own code."""
        self._monitors.append(ref)

    def on_receive(self, message: Any) -> Any:
        """Answer the messages that every actor knows; give the others to `receive`."""
        if isinstance(message, Ping):
            return True
        if isinstance(message, Describe):
            return self.describe()
        return self.receive(message)

    # ------------------------------------------------------------ for executors

    def begin(self) -> None:
        """Run `on_start`, unless the actor was stopped before; an exception there ends it like any other."""
        if self.actor_stopped.is_set():
            return
        try:
            self.on_start()
        except BaseException:
            self._crash(*sys.exc_info())

    def process(self, envelope: Envelope[Any]) -> None:
        """Handle one envelope. Never raises, whatever the actor's code does."""
        reply_to = envelope.reply_to
        if self.actor_stopped.is_set():
            self._refuse(envelope)
            return
        message = envelope.message
        try:
            # Only for its own is pykka asked: it looks for its four kinds one after the other.
            response = self.obey(message) if isinstance(message, PykkaMessage) else self.on_receive(message)
        except BaseException as error:
            if reply_to is not None and isinstance(error, Exception):
                reply_to.set_exception()
            else:
                self._crash(*sys.exc_info())
                if reply_to is not None:
                    # Not the error itself: in an asking actor of pykka's it would stop every actor of the process.
                    self._answer_dead(reply_to, f"{self.actor_ref} was killed by the message: {error!r}", error)
                guarded(lambda: self.on_dead_letter(envelope.message), f"dead letter of {self}")
            return
        if reply_to is not None:
            reply_to.set(response)

    def _refuse(self, envelope: Envelope[Any]) -> None:
        if envelope.reply_to is not None:
            if isinstance(envelope.message, ActorStop):
                envelope.reply_to.set(None)
                return
            self._answer_dead(envelope.reply_to, f"{self.actor_ref} stopped before handling the message")
        guarded(lambda: self.on_dead_letter(envelope.message), f"dead letter of {self}")

    @staticmethod
    def _answer_dead(reply_to: pykka.Future[Any], why: str, cause: BaseException | None = None) -> None:
        dead = pykka.ActorDeadError(why)
        dead.__cause__ = cause
        reply_to.set_exception((type(dead), dead, None))

    def obey(self, message: Any) -> Any:
        """Do what one of pykka's messages asks, if that is offered: its own proxies show all that an actor has inside.

        Raises:
            AttributeError: something that is not offered, or an attribute is to be set.
        """
        asked = getattr(message, "attr_path", None)
        if asked is not None:
            offered = isinstance(message, pykka.messages.ProxyCall | pykka.messages.ProxyGetAttr)
            if not offered or len(asked) != 1 or asked[0] not in self.offered:
                name = ".".join(asked)
                raise AttributeError(f"{name!r} is none of what {self} offers to proxies: {', '.join(self.offered)}.")
        return super().obey(message)

    def halt(self) -> None:
        """End now, as one who was told to stop. On the thread that runs the actor."""
        stopped = ClientClosedError(f"The {self.title} was stopped.", advice="Make a new one to go on.")
        self._conclude(stopped, None, self.on_stop, "on_stop")

    def _crash(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        log_failure(logger, "Unhandled exception in %s", self)
        crash = ActorCrashedError(f"The {self.title} crashed: {error!r}.")
        self._conclude(crash, error, lambda: self.on_failure(kind, error, traceback), "on_failure")

    def _conclude(self, why: TinkerError, death: BaseException | None, hook: Callable[[], object], what: str) -> None:
        if self.ending is not None:
            return
        self.ending = why
        self.actor_stopped.set()
        alarms, self._alarms = self._alarms, set()
        for alarm in alarms:
            alarm.cancel()  # a timer that is hours away would keep the actor until then
        guarded(lambda: self.settle(why), f"settle of {self}")
        guarded(hook, f"{what} of {self}")
        self.ended = True
        message = Terminated(self.actor_ref, death)
        for ref in self._monitors:
            tell(ref, message)


def tell(ref: Ref, message: Any) -> bool:
    """Tell an actor that may be gone by now; return whether it was still there to be told.

    What `ref.tell` does, without an error for the caller to catch: once per sample.
    """
    if ref.actor_stopped.is_set():
        return False
    ref.actor_inbox.put(Envelope(message))
    return True


def guarded(action: Callable[[], Any], what: str) -> None:
    """Run code that must not take its caller down; what it raises, `SystemExit` included, is logged at ERROR."""
    try:
        action()
    except BaseException:
        log_failure(logger, "%s failed", what)
