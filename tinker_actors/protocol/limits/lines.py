"""Lines: waiting in order of urgency, and inside one urgency in the order of coming.

What was sent and turned back goes before what was not sent yet, in its old order. Plain containers for the one thread
that owns them.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

RANKS = 3
"""How many degrees of urgency there are; 0 is the most urgent."""

LEAST = RANKS - 1
"""The least urgent rank, that of evaluations."""


class Line(Generic[T]):
    """A line in which the more urgent go first.

    Attributes:
        length: how many wait.
        urgent: how many of them are not of the least urgent rank.
    """

    __slots__ = ("_ranks", "length", "urgent")

    def __init__(self) -> None:
        # For each rank, who was given back, and who came and was never taken out.
        self._ranks: tuple[tuple[list[tuple[int, T]], deque[T]], ...] = tuple(([], deque()) for _ in range(RANKS))
        self.length = self.urgent = 0

    def append(self, item: T, rank: int) -> None:
        """Stand at the end of those of the same rank."""
        self._ranks[rank][1].append(item)
        self.length += 1
        self.urgent += rank != LEAST

    def give_back(self, item: T, rank: int, order: int) -> None:
        """Stand in front of those of the same rank that were never taken out; `order` is unique among the others."""
        insort(self._ranks[rank][0], (order, item))
        self.length += 1
        self.urgent += rank != LEAST

    def sift(self, keep: Callable[[T], bool]) -> None:
        """Take out all for whom `keep` is false; the others keep their places."""
        self.length = self.urgent = 0
        for rank, (back, coming) in enumerate(self._ranks):
            back[:] = [each for each in back if keep(each[1])]
            kept = [item for item in coming if keep(item)]
            coming.clear()
            coming.extend(kept)
            left = len(back) + len(coming)
            self.length += left
            self.urgent += left if rank != LEAST else 0

    def first_rank(self) -> int | None:
        """Return the rank of who is next, or None when nobody waits."""
        if self.length:
            for rank, (back, coming) in enumerate(self._ranks):
                if coming or back:
                    return rank
        return None

    def popleft(self) -> T:
        """Take out who is next.

        Raises:
            IndexError: nobody waits.
        """
        for back, coming in self._ranks:
            if back or coming:
                self.length -= 1
                self.urgent -= self.urgent > 0  # who is more urgent goes first, so that it is one of them
                return back.pop(0)[1] if back else coming.popleft()
        raise IndexError("nobody waits")
