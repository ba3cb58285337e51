"""Capacity: a server that works on so many samples at a time, keeps a few waiting, and refuses the rest.

Plain counting, no clock: whoever uses it says when a sample is finished.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any


class CapacityQueue:
    """Places, and a short queue in front of them.

    Args:
        places: samples worked on at a time; None for any number.
        waiting: samples that may wait for a place.
        begin: called with a sample when its work begins.
    """

    def __init__(self, places: int | None, waiting: int, begin: Callable[[Any], None]) -> None:
        self._places = places
        self._most_waiting = waiting
        self._begin = begin
        self._queue: deque[Any] = deque()
        self.running = 0

    def offer(self, sample: Any) -> bool:
        """Take a sample, or return False when there is no room for it."""
        if self._places is None or self.running < self._places:
            self.running += 1
            self._begin(sample)
        elif len(self._queue) < self._most_waiting:
            self._queue.append(sample)
        else:
            return False
        return True

    def finished(self) -> None:
        """Free a place for the sample that waits longest."""
        if self._queue:
            self._begin(self._queue.popleft())
        else:
            self.running -= 1

    @property
    def waiting(self) -> int:
        """Samples that wait."""
        return len(self._queue)
