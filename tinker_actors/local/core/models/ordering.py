"""Ordering: operations leave in the order of their numbers, whenever they arrive.

Clients submit a call's chunks concurrently, the first one last (wire protocol 6.2), and resend what was not answered,
so numbers arrive early, late and twice; a number that has left never leaves again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Sequencer(Generic[T]):
    """Items in, in any order; items out, strictly by number from 1 and without gaps.

    Items without a number leave in arrival order, between whatever numbered ones are ready.

    Attributes:
        next_number: the number that has not arrived yet and that all later ones wait for.
    """

    def __init__(self) -> None:
        self.next_number = 1
        self._early: dict[int, T] = {}
        self._ready: deque[T] = deque()

    def __len__(self) -> int:
        """Return how many items are inside."""
        return len(self._early) + len(self._ready)

    def put(self, number: int | None, item: T, join: Callable[[list[T]], list[T]] = list) -> None:
        """Add an item. One put under a number that still waits for its turn replaces what is there.

        Args:
            number: its number, or None.
            item: the item.
            join: is given what gets its turn by this, in order; what it returns leaves instead.

        Raises:
            ValueError: the number's turn is over.
        """
        if number is None:
            self._ready.append(item)
            return
        if number < self.next_number:
            raise ValueError(f"number {number} has had its turn; the next one is {self.next_number}")
        self._early[number] = item
        released = []
        while self.next_number in self._early:
            released.append(self._early.pop(self.next_number))
            self.next_number += 1
        self._ready.extend(join(released))

    def pop(self) -> T | None:
        """Take the next item whose turn it is, or None."""
        return self._ready.popleft() if self._ready else None

    def drain(self) -> list[T]:
        """Take everything that is inside, ready or early."""
        left = [*self._ready, *self._early.values()]
        self._ready.clear()
        self._early.clear()
        return left

    @property
    def missing(self) -> int | None:
        """The number that everything inside waits for, or None when nothing waits for one."""
        return self.next_number if self._early and not self._ready else None

    @property
    def early(self) -> Collection[T]:
        """What waits for a number before its own."""
        return self._early.values()

    def skip_missing(self, change: Callable[[T, Sequence[range]], T]) -> list[range]:
        """Let everything that waits leave in its order, and return the numbers that were missing, which may be many.

        Args:
            change: is given each item and the missing numbers before it; what it returns leaves instead.
        """
        missing: list[range] = []
        for number in sorted(self._early):
            if number > self.next_number:
                missing.append(range(self.next_number, number))
            self._ready.append(change(self._early.pop(number), missing))
            self.next_number = number + 1
        return missing

    @property
    def ready(self) -> bool:
        """Whether `pop` would give an item."""
        return bool(self._ready)

    def is_early(self, number: int | None) -> bool:
        """Return whether a number waits for one before it."""
        return number in self._early
