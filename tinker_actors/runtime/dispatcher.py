"""The dispatcher: one thread that runs every control actor of the process.

Control actors (supervisors, sessions, registries, training and sampling actors) only decide; none of them blocks.
One thread for all of them costs less per message than a thread each, and 5,000 samplers add no thread.
"""

from __future__ import annotations

import logging
import queue
from typing import Any

from tinker_actors.runtime import forks
from tinker_actors.runtime.actor import RuntimeActor, guarded
from tinker_actors.runtime.clock import Clock, MonotonicClock
from tinker_actors.runtime.pykka_internals import Envelope, Inbox
from tinker_actors.runtime.threads import OneThread
from tinker_actors.runtime.timers import Timers

logger = logging.getLogger("tinker_actors")

_BEGIN = object()


class DispatcherInbox:
    """An actor's door to the dispatcher's one queue. It keeps the actor alive as long as somebody can reach it."""

    __slots__ = ("_actor", "_epoch", "_queue")

    def __init__(self, actor: RuntimeActor, shared: queue.SimpleQueue[Any], epoch: int) -> None:
        self._actor = actor
        self._queue = shared
        self._epoch = epoch

    def put(self, envelope: Envelope[Any], /) -> None:
        """Queue a message for the actor. Callable from any thread.

        Raises:
            ForkedError: the actor runs in the parent of this process.
        """
        if self._epoch != forks.epoch:
            raise forks.forked_error(f"A message to {self._actor}")
        self._queue.put((self._actor, envelope))

    def get(self) -> Envelope[Any]:
        """Not used: the dispatcher takes messages from its own queue."""
        raise RuntimeError("the dispatcher delivers this actor's messages")

    def empty(self) -> bool:
        """Return True: messages wait in the dispatcher's queue, not here."""
        return True


class Dispatcher:
    """An executor with one thread, started with its first actor.

    Thread-safe: actors may be started from any thread. `timers` belongs to the dispatcher's thread.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or MonotonicClock()
        self.timers = Timers()
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._epoch = forks.epoch
        self._thread = OneThread("dispatcher", self._loop)

    def inbox_for(self, actor: RuntimeActor) -> Inbox:
        """Return an inbox that leads into the shared queue."""
        return DispatcherInbox(actor, self._queue, self._epoch)

    def run(self, actor: RuntimeActor) -> None:
        """Have the dispatcher's thread run the actor, beginning with its `on_start`.

        Raises:
            ForkedError: the dispatcher's thread is in the parent of this process.
        """
        forks.check_not_forked("Starting an actor", self._epoch)
        self._thread.ensure()
        self._queue.put((actor, _BEGIN))

    def backlog(self) -> int:
        """Return how many messages wait, for all actors together."""
        return self._queue.qsize()

    def _loop(self) -> None:
        while True:
            # What an actor or a timer raises ends in their own nets; this one is for what is thrown at the thread.
            guarded(self._take_turns, "a turn of the dispatcher")

    def _take_turns(self) -> None:
        timers, take, now = self.timers, self._queue.get, self.clock.now
        while True:
            try:
                item = take(timeout=timers.wait(now()))
            except queue.Empty:
                item = None
            if item is not None:
                actor, envelope = item
                if envelope is _BEGIN:
                    actor.begin()
                else:
                    actor.process(envelope)
                del actor, envelope, item
            while timers.next_due() is not None and (callback := timers.pop_due(now())) is not None:
                guarded(callback, "timer")
                del callback  # a waiting dispatcher keeps no actor alive
