"""Turns: whose poll may hold a connection when there are more polls than connections.

A server holds a poll for half a minute. When others wait, a poll that was held for a moment without an answer is given
up, and goes to the end of the line: so nobody waits behind such holds, and who waited longest since the last look is
looked after first. More urgent polls take connections from less urgent ones at once.

Plain containers for the one thread that owns them; time is an argument, in seconds.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from tinker_actors.protocol.lines import LEAST, RANKS, Line

T = TypeVar("T")

HELD = 2.0
"""Seconds a poll is held at least before it is given up for one that is no more urgent; its connection is closed."""

HELD_TLS = 5.0
"""The same where the next connection costs a TLS handshake."""

# The same for one that is more urgent. Not zero, or a burst would undo what was just sent.
_HELD_AGAINST_URGENT = 0.1
_SOONEST = 0.01  # seconds until the next look: clocks are not exact
# The share of the connections that the least urgent polls leave to the others.
_FREE_SHARE = 8


class Turns(Generic[T]):
    """Who holds a connection, and who waits for one.

    Args:
        most: connections that polls may hold.
        held: seconds a poll is held at least.

    Attributes:
        out: how many they hold.
        waiting: who waits.
    """

    __slots__ = ("_at_least", "_firm", "_held", "_most", "out", "waiting")

    def __init__(self, most: int, held: float = HELD) -> None:
        self._at_least = held
        self.resize(most)
        self._held: tuple[dict[T, float], ...] = tuple({} for _ in range(RANKS))
        self._firm: set[T] = set()
        self.out = 0
        self.waiting: Line[T] = Line()

    def resize(self, most: int) -> None:
        """Let polls hold this many connections from now on; those they hold above it they keep."""
        self._most = tuple(most - (most // _FREE_SHARE if rank == LEAST else 0) for rank in range(RANKS))

    def free(self, rank: int) -> bool:
        """Return whether a poll of this rank may begin without waiting."""
        if self.out >= self._most[rank]:
            return False
        first = self.waiting.first_rank()
        return first is None or first > rank

    def hold(self, poll: T, rank: int, now: float, *, firm: bool = False) -> None:
        """Note that a poll holds a connection; a firm one is not given up."""
        if firm:
            self._firm.add(poll)
        else:
            self._held[rank][poll] = now
        self.out += 1

    def release(self, poll: T, rank: int) -> None:
        """Note that a poll holds its connection no more."""
        if self._held[rank].pop(poll, None) is None:
            self._firm.remove(poll)
        self.out -= 1

    def next(self) -> T | None:
        """Take out who is next, if there is a connection."""
        rank = self.waiting.first_rank()
        if rank is None or self.out >= self._most[rank]:
            return None
        return self.waiting.popleft()

    def to_give_up(self, now: float) -> T | None:
        """Return a poll whose connection should go to one that waits, or None."""
        waits = self.waiting.first_rank()
        if waits is not None:
            for rank in range(LEAST, waits - 1, -1):
                oldest = next(iter(self._held[rank].items()), None)
                if oldest is not None and now - oldest[1] >= (
                    self._at_least if rank == waits else _HELD_AGAINST_URGENT
                ):
                    return oldest[0]
        return None

    def next_look(self, now: float) -> float:
        """Return after how many seconds `to_give_up` should be asked again when it said None and somebody waits."""
        waits = self.waiting.first_rank()
        if waits is not None and any(self._held[rank] for rank in range(waits + 1, RANKS)):
            return _HELD_AGAINST_URGENT
        oldest = next(iter(self._held[waits].values()), None) if waits is not None else None
        return self._at_least if oldest is None else max(_SOONEST, oldest + self._at_least - now)
