"""What we rely on in pykka that is not its public interface: all of it, and nowhere else.

A new type of actor can't be made with pykka's public interface alone: it has underscored hooks for those who make one,
and says so in their docstrings. `make test-pykka` runs the actors' tests with the oldest and the newest version that
`pyproject.toml` allows.

| what | what has to be true of it | where it is used |
| --- | --- | --- |
| `pykka._envelope.Envelope` | made of a message and `reply_to=`, and has them as attributes; it is what `ActorRef.tell` and `ask` put into an inbox | `Envelope` |
| `pykka.messages._ActorStop` | what `ActorRef.stop` asks | `ActorStop` |
| the messages of `pykka.messages` | are tuples | `PykkaMessage` |
| `Actor._create_actor_inbox` | called by `Actor.__init__`, before the subclass is ready; what it returns may be replaced behind that | `ActorType` |
| `Actor._actor_ref` | what `actor_ref` returns; `Actor.__init__` sets it, and it may be set anew | `ActorType` |
| `ActorRef(actor)` | takes `actor_inbox` and `actor_stopped` from the actor when it is made. Whether it keeps the actor depends on the version; our inboxes do | `ActorType` |
| `Actor._create_future` | called on the class by `ActorRef.ask`; `ActorRef.stop` and `Future.map` make others by calling its class without arguments | `ActorType` |
| `Actor._start_actor_loop` | abstract; called by `Actor.start` alone, which we replace | `ActorType` |
| `Actor._handle_receive` | does what pykka's own messages ask, and calls `_stop` for a stop | `ActorType` |
| `Actor._stop` | all that a stop does, with pykka's process-wide registry in it, which ours are not in | `ActorType` |

What pykka does in its own loop (`_actor_loop` and the rest) is not used: executors run our actors.
"""  # noqa: E501 - a table

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Protocol

import pykka
from pykka._envelope import Envelope
from pykka.messages import _ActorStop as ActorStop

__all__ = ["ActorStop", "ActorType", "Envelope", "Inbox", "PykkaMessage"]

PykkaMessage: type[tuple[Any, ...]] = tuple
"""The class of all of pykka's own messages. Ours are none of it, so that one look tells the two apart."""


class Inbox(Protocol):
    """What pykka expects of an inbox."""

    def put(self, envelope: Envelope[Any], /) -> None:
        """Add a message; callable from any thread."""
        ...

    def get(self) -> Envelope[Any]:
        """Take the next message; only by the owner."""
        ...

    def empty(self) -> bool:
        """Return whether nothing waits."""
        ...


class ActorType(pykka.Actor):
    """Base of a type of actors that has inboxes, futures and a loop of its own, with names that are not underscored.

    pykka's references and proxies work with such actors; its process-wide registry does not know them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.actor_inbox = self.make_inbox()
        self._actor_ref = self.make_ref()  # the one that pykka has made goes to no inbox

    @abstractmethod
    def make_inbox(self) -> Inbox:
        """Return the inbox of this actor."""

    @abstractmethod
    def make_ref(self) -> pykka.ActorRef[Any]:
        """Return the reference to this actor, which has its inbox by now."""

    @staticmethod
    @abstractmethod
    def make_reply() -> pykka.Future[Any]:
        """Return the future that an asker is given."""

    @abstractmethod
    def run(self) -> None:
        """Begin to run the actor, on whatever thread."""

    @abstractmethod
    def halt(self) -> None:
        """End now, as one who was told to stop. On the thread that runs the actor."""

    def obey(self, message: Any) -> Any:
        """Do what one of pykka's own messages asks: call a method, read or set an attribute, or stop."""
        return self._handle_receive(message)

    @staticmethod
    def _create_actor_inbox() -> Any:
        return None  # once the instance is ready, it makes its inbox

    @classmethod
    def _create_future(cls) -> pykka.Future[Any]:
        return cls.make_reply()

    def _start_actor_loop(self) -> None:
        self.run()

    def _stop(self) -> None:
        self.halt()
