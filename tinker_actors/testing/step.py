"""The step runtime: every actor on the calling thread, one message at a time, in an order drawn from a seed.

Messages of one actor keep their order, as they do with threads; between actors any order is possible, and over many
seeds the unlikely ones come up too. When no message waits, the clock moves to the next timer.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Any

from tinker_actors.runtime.actor import RuntimeActor, guarded
from tinker_actors.runtime.pykka_internals import Envelope
from tinker_actors.runtime.threads import as_own_thread
from tinker_actors.runtime.timers import Timers
from tinker_actors.testing.clock import FakeClock


class StepInbox:
    """The inbox of an actor that is stepped."""

    def __init__(self, runtime: StepRuntime, actor: RuntimeActor) -> None:
        self._runtime = runtime
        self.actor = actor
        self.envelopes: deque[Envelope[Any]] = deque()

    def put(self, envelope: Envelope[Any], /) -> None:
        """Queue a message."""
        self.envelopes.append(envelope)
        self._runtime._note(self)

    def get(self) -> Envelope[Any]:
        """Take the next message."""
        return self.envelopes.popleft()

    def empty(self) -> bool:
        """Return whether nothing waits."""
        return not self.envelopes


class StepRuntime:
    """An executor and a delivery in one, driven by `step()`. For one thread only.

    Args:
        seed: draws the order.
        clock: default: a new `FakeClock`.
    """

    def __init__(self, seed: int, clock: FakeClock | None = None) -> None:
        self.clock: FakeClock = clock or FakeClock()
        self.timers = Timers()
        self._random = random.Random(seed)  # noqa: S311 - a schedule, not a secret
        self._ready: list[StepInbox] = []
        self._callbacks: deque[Callable[[], Any]] = deque()

    def inbox_for(self, actor: RuntimeActor) -> StepInbox:
        """Return a new inbox."""
        return StepInbox(self, actor)

    def run(self, actor: RuntimeActor) -> None:
        """Begin with an actor: its `on_start` runs now."""
        actor.begin()

    def post(self, callback: Callable[[], Any]) -> None:
        """Run a callback as a step of its own, later."""
        self._callbacks.append(callback)

    def step(self) -> bool:
        """Do one thing: a message, a callback, or the next timer. Return False when there is nothing to do.

        An actor that waits for a future in here gets `WouldDeadlockError`, as it would on a thread of the runtime.
        """
        with as_own_thread():
            return self._step()

    def _step(self) -> bool:
        choices = len(self._ready) + bool(self._callbacks)
        if choices:
            index = self._random.randrange(choices)
            if index < len(self._ready):
                self._process(index)
            else:
                guarded(self._callbacks.popleft(), "callback")
            return True
        due = self.timers.next_due()
        if due is None:
            return False
        self.clock.advance_to(due)
        callback = self.timers.pop_due(self.clock.now())
        assert callback is not None
        guarded(callback, "timer")
        return True

    def run_until(self, condition: Callable[[], bool], *, most: int = 200_000) -> None:
        """Step until `condition()` holds.

        Raises:
            AssertionError: nothing is left to do, or `most` steps were not enough.
        """
        for _ in range(most):
            if condition():
                return
            if not self.step():
                break
        if not condition():
            raise AssertionError("nothing is left to do, and the condition does not hold")  # also under -O

    def _note(self, inbox: StepInbox) -> None:
        if len(inbox.envelopes) == 1:
            self._ready.append(inbox)

    def _process(self, index: int) -> None:
        inbox = self._ready[index]
        envelope = inbox.get()
        if inbox.empty():
            self._ready[index] = self._ready[-1]
            self._ready.pop()
        inbox.actor.process(envelope)
