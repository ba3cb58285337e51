"""Draining: following what is in flight in a service to its end, before the service is closed.

What was called belongs to the service, whoever still holds a handle. One thing leads to another, so it is followed in
that order: the operations of the models, then the samplers and publications that come of them, then the samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from tinker_actors.actors.lane.work import Work
from tinker_actors.actors.messages import Barrier
from tinker_actors.actors.sampler import Sampling
from tinker_actors.actors.service import Service
from tinker_actors.runtime.actor import Ref, tell
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.progress import Tracker


class Decided(msgspec.Struct, frozen=True, eq=False):
    """To the supervisor: something that its draining waited for is decided."""


class Draining:
    """Waits for what is in flight, without a thread. Part of a supervisor; used where it runs.

    Args:
        service: what is being closed; nothing new comes to it any more.
        children: the supervisor's, by name.
        owner: told `Decided` when it is time to `go_on`.
    """

    def __init__(self, service: Service, children: Mapping[str, Ref], owner: Ref) -> None:
        self._service = service
        self._children = children
        self._owner = owner
        self._waiting: list[APIFuture[Any]] = []
        self._phases: list[Callable[[], list[APIFuture[Any]]]] = [
            self._samples,
            lambda: self._barriers([service.registry]),
            lambda: self._barriers(ref for ref in self._children.values() if ref.actor_class is Sampling),
            lambda: self._barriers(ref for name, ref in self._children.items() if name not in ("registry", "session")),
        ]

    def go_on(self) -> bool:
        """Look on from where it stopped, and return whether nothing is in flight any more."""
        while True:
            while self._waiting:
                if not self._waiting[-1].done():
                    self._waiting[-1]._watch(self.release)
                    return False
                self._waiting.pop()
            if not self._phases:
                return True
            self._waiting = self._phases.pop()()

    def release(self) -> None:
        """Hear that the future that is watched is decided. On whatever thread that happens."""
        tell(self._owner, Decided())

    def _barriers(self, refs: Iterable[Ref]) -> list[APIFuture[Any]]:
        platform = self._service.platform
        barriers = []
        for ref in refs:
            barrier: APIFuture[None] = APIFuture(
                Tracker("barrier", platform.control.clock.now()), delivery=platform.delivery
            )
            barrier._looked_at, barrier._counted = True, False
            if tell(ref, Barrier(barrier)):
                barriers.append(barrier)
        return barriers

    def _samples(self) -> list[APIFuture[Any]]:
        """Return the futures of samples that will be decided without any further call, and of questions."""
        service = self._service
        works = [item for item in service.lanes.under_way(service.link) if isinstance(item, Work)]
        owed = [work.sink.owed() for work in works]
        return [*service.questions.copy(), *(future for future in owed if future is not None)]
