"""Turns: whose poll may hold a connection when there are more polls than connections.

A server holds a poll for half a minute. When others wait, a poll that was held for a moment without an answer is given
up, and goes to the end of the line: so nobody waits behind such holds, and who waited longest since the last look is
looked after first. Each giving up closes a connection and opens another, so they are spread over the time that polls
are held: thousands that began together must not be given up together, with everybody else waiting behind that.

More urgent polls take connections from less urgent ones at once, and keep them: what they held lately stays free for
the next of them, so that evaluations do not take at every rollout's end what is taken back at the next one's begin.

Plain containers for the one thread that owns them; time is an argument, in seconds.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from tinker_actors.protocol.limits.lines import LEAST, RANKS, Line

T = TypeVar("T")

HELD = 2.0
"""Seconds a poll is held at least before it is given up for one that is no more urgent; its connection is closed."""

HELD_TLS = 5.0
"""The same where the next connection costs a TLS handshake."""

# The same for one that is more urgent. Not zero, or a burst would undo what was just sent.
_HELD_AGAINST_URGENT = 0.1
_SOONEST = 0.01  # seconds until the next look: clocks are not exact
# The share of the connections that the least urgent polls leave to the others, however few those are.
_FREE_SHARE = 8
# What the others held is kept free for them for so many seconds, or up to twice that.
_KEPT_FREE = 1.0


class Turns(Generic[T]):
    """Who holds a connection, and who waits for one.

    Args:
        most: connections that polls may hold.
        held: seconds a poll is held at least.

    Attributes:
        out: how many they hold.
        waiting: who waits.
    """

    __slots__ = (
        "_at_least",
        "_before",
        "_firm",
        "_held",
        "_lately",
        "_most",
        "_next_change",
        "_since",
        "_urgent",
        "out",
        "waiting",
    )

    def __init__(self, most: int, held: float = HELD) -> None:
        self._at_least = held
        self._most = most
        self._held: tuple[dict[T, float], ...] = tuple({} for _ in range(RANKS))
        self._firm: set[T] = set()
        self._next_change = float("-inf")
        # Of `out`, how many are no evaluations; the most there were since `_since`, and in the time before it.
        self._urgent = self._lately = self._before = 0
        self._since = float("-inf")
        self.out = 0
        self.waiting: Line[T] = Line()

    def resize(self, most: int) -> None:
        """Let polls hold this many connections from now on; those they hold above it they keep."""
        self._most = most

    def free(self, rank: int) -> bool:
        """Return whether a poll of this rank may begin without waiting."""
        if self.waiting.length and (self.waiting.first_rank() or 0) <= rank:
            return False
        return self._room(rank) if rank == LEAST else self.out < self._most

    def hold(self, poll: T, rank: int, now: float, *, firm: bool = False) -> None:
        """Note that a poll holds a connection; a firm one is not given up."""
        if firm:
            self._firm.add(poll)
        else:
            self._held[rank][poll] = now
        self.out += 1
        if rank != LEAST:
            self._urgent += 1
        if self._urgent > self._lately or now - self._since >= _KEPT_FREE:
            self._look_at_urgent(now)

    def release(self, poll: T, rank: int) -> None:
        """Note that a poll holds its connection no more."""
        if self._held[rank].pop(poll, None) is None:
            self._firm.remove(poll)
        self.out -= 1
        if rank != LEAST:
            self._urgent -= 1

    def next(self) -> T | None:
        """Take out who is next, if there is a connection."""
        rank = self.waiting.first_rank()
        return self.waiting.popleft() if rank is not None and self._room(rank) else None

    def to_give_up(self, now: float) -> T | None:
        """Return a poll whose connection should go to one that waits, or None. Who is returned has to be released."""
        self._look_at_urgent(now)
        waits = self.waiting.first_rank()
        if waits is None:
            return None
        for rank in range(LEAST, waits, -1):
            oldest = next(iter(self._held[rank].items()), None)
            if oldest is not None and now - oldest[1] >= _HELD_AGAINST_URGENT:
                return oldest[0]
        alike = self._held[waits]
        oldest = next(iter(alike.items()), None)
        if oldest is None or now < max(oldest[1] + self._at_least, self._next_change):
            return None
        # What was missed since the last look is made up for, as far as one look late by no more than usual goes.
        self._next_change = max(self._next_change, now - _SOONEST) + self._at_least / len(alike)
        return oldest[0]

    def next_look(self, now: float) -> float:
        """Return after how many seconds `to_give_up` should be asked again when it said None and somebody waits."""
        waits = self.waiting.first_rank()
        if waits is None:
            return self._at_least
        due = [next(iter(held.values())) + _HELD_AGAINST_URGENT for held in self._held[waits + 1 :] if held]
        alike = next(iter(self._held[waits].values()), None)
        if alike is not None:
            due.append(max(alike + self._at_least, self._next_change))
        if waits == LEAST and self._kept_free() > self._urgent:
            due.append(self._since + _KEPT_FREE)
        return max(_SOONEST, min(due) - now) if due else self._at_least

    def _room(self, rank: int) -> bool:
        if self.out >= self._most:
            return False
        if rank != LEAST:
            return True
        return self.out - self._urgent < self._most - max(self._most // _FREE_SHARE, self._kept_free())

    def _kept_free(self) -> int:
        return max(self._lately, self._before)

    def _look_at_urgent(self, now: float) -> None:
        """Keep in mind how many urgent polls there were at a time."""
        if now - self._since >= _KEPT_FREE:
            self._before, self._lately, self._since = self._lately, 0, now
        self._lately = max(self._lately, self._urgent)
