"""Arrivals: works on their way from their callers to a lane.

Not the lane's mailbox, because that is first come, first served: a rollout must not wait until the lane has looked at
thousands of evaluations that came before it. The mailbox only hears, once for many, that there is something.
"""

from __future__ import annotations

from collections import deque

from tinker_actors.actors.lane.work import Work
from tinker_actors.protocol.limits.lines import RANKS


class Arrivals:
    """Works that a lane has not looked at. Anyone may put; only the lane takes."""

    __slots__ = ("_announced", "_lines")

    def __init__(self) -> None:
        self._lines: tuple[deque[Work], ...] = tuple(deque() for _ in range(RANKS))
        self._announced = False

    def put(self, work: Work) -> bool:
        """Add a work that is in the table already; return whether the lane has to be told.

        Thread-safe without a lock. The lane clears the mark before it looks, so whoever finds the mark set has put
        his work where the lane is going to look.
        """
        self._lines[work.rank].append(work)
        if self._announced:
            return False
        self._announced = True
        return True

    def begin(self) -> None:
        """Begin to look: from now on the lane wants to be told again."""
        self._announced = False

    def take(self) -> Work | None:
        """Take out the first of the most urgent, or return None."""
        for line in self._lines:
            if line:
                return line.popleft()
        return None
