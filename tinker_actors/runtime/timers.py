"""Timers: callbacks ordered by due time, run by whoever owns the thread.

A lane, the dispatcher and the simulation each own one `Timers`. It has no thread and no clock: the owner asks
when the next callback is due, waits in its own way, and then runs what is due. Used from one thread only.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

# Below this many cancelled entries a rebuild costs more than it frees.
_MIN_CANCELLED_TO_COMPACT = 512
# Longest single wait: queues and selectors overflow on very distant timers.
_LONGEST_WAIT = 3600.0


class Timer:
    """A callback that waits for its time; `cancel()` makes it never run. Not thread-safe."""

    __slots__ = ("_owner", "callback", "due")

    def __init__(self, due: float, callback: Callable[[], object], owner: Timers) -> None:
        self.due = due
        self.callback: Callable[[], object] | None = callback
        self._owner = owner

    def cancel(self) -> None:
        """Forget the callback. Does nothing when it already ran or was cancelled."""
        if self.callback is not None:
            self.callback = None
            self._owner._note_cancelled()


class Timers:
    """A heap of timers.

    Cancelled timers stay in the heap until they come up or outnumber the live ones, because removing from the
    middle of a heap costs more than most timers' whole life.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._cancelled = 0

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    def call_at(self, due: float, callback: Callable[[], object]) -> Timer:
        """Run `callback` once at or after `due` (seconds on the owner's clock), in the owner's thread."""
        timer = Timer(due, callback, self)
        heapq.heappush(self._heap, (due, next(self._order), timer))
        return timer

    def next_due(self) -> float | None:
        """Return when the earliest live timer is due, or None when there is none."""
        heap = self._heap
        while heap and heap[0][2].callback is None:
            heapq.heappop(heap)
            self._cancelled -= 1
        return heap[0][0] if heap else None

    def wait(self, now: float) -> float | None:
        """Return for how many seconds to wait: until the earliest live timer, an hour at most; None when there is none.

        After an hour there may be nothing due yet.
        """
        due = self.next_due()
        return None if due is None else min(max(due - now, 0.0), _LONGEST_WAIT)

    def pop_due(self, now: float) -> Callable[[], object] | None:
        """Take out the earliest callback that is due at `now`, or return None."""
        due = self.next_due()
        if due is None or due > now:
            return None
        timer = heapq.heappop(self._heap)[2]
        callback, timer.callback = timer.callback, None
        return callback

    def _note_cancelled(self) -> None:
        self._cancelled += 1
        if self._cancelled > _MIN_CANCELLED_TO_COMPACT and self._cancelled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].callback is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0
