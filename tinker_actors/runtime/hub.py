"""The event hub: who wants to hear of what."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, overload

import pykka

from tinker_actors.events.records import Event
from tinker_actors.runtime import forks
from tinker_actors.runtime.actor import Ref, tell
from tinker_actors.runtime.delivery import Delivery
from tinker_actors.runtime.staying import Staying

E = TypeVar("E", bound=Event)
Subscriber = Ref | Callable[[Any], object]


class HasActor(Protocol):
    """A proxy, of pykka's or ours: it tells whose."""

    @property
    def actor_ref(self) -> Ref:
        """The actor's reference."""
        ...


Actor = Ref | HasActor


class EventHub(Staying):
    """Fans events out. Thread-safe, also in signal handlers; `emit` never blocks and never raises.

    Args:
        delivery: what runs the callables.
    """

    _elsewhere = "Pickle the events."

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._epoch = forks.epoch
        self._keys = itertools.count()
        self._subscribers: dict[int, tuple[Subscriber, tuple[type[Event], ...]]] = {}

    @overload
    def subscribe(self, subscriber: Callable[[Event], object] | Actor) -> None: ...

    @overload
    def subscribe(self, subscriber: Callable[[E], object] | Actor, kind: type[E], /, *kinds: type[E]) -> None: ...

    def subscribe(self, subscriber: Callable[[Any], object] | Actor, *kinds: type[Event]) -> None:
        """Send events of these classes (default: all) to a callable, an actor reference or a pykka proxy.

        Raises:
            ForkedError: the events happen in the parent of this process.
        """
        forks.check_not_forked("subscribe", self._epoch)
        given: Any = subscriber
        target: Subscriber = getattr(given, "actor_ref", given)
        self._subscribers[next(self._keys)] = (target, kinds or (Event,))

    def unsubscribe(self, subscriber: Callable[[Any], object] | Actor) -> None:
        """Send it nothing more."""
        if self._epoch != forks.epoch:
            return  # nothing is sent here anyway
        target = getattr(subscriber, "actor_ref", subscriber)
        for key, (known, _) in list(self._subscribers.items()):
            if known == target:
                self._subscribers.pop(key, None)

    def emit(self, event: Event) -> None:
        """Send an event to everybody who asked for its class. An actor that is gone is unsubscribed."""
        for target, kinds in list(self._subscribers.values()):
            if not isinstance(event, kinds):
                continue
            if isinstance(target, pykka.ActorRef):
                if not tell(target, event):
                    self.unsubscribe(target)
            else:
                self._delivery.post(lambda target=target: target(event))  # type: ignore[misc]
