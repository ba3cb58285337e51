"""Rounds: telling the silence of a peer from a process that stood still itself.

That much time has passed says nothing about a peer. The process may have been stopped, its container paused, the lid of
the laptop closed; a clock may have jumped. Nobody asked anything meanwhile, and answers wait unread. So whoever judges
by time looks in rounds, and takes off what a round came later than it should have.
"""

from __future__ import annotations


class Rounds:
    """The rounds of somebody who looks every few seconds. For one thread.

    Args:
        every: seconds between two rounds.
        now: the monotonic clock, in seconds.
    """

    __slots__ = ("_every", "_last")

    def __init__(self, every: float, now: float) -> None:
        self._every = every
        self._last = now

    def lost(self, now: float) -> float:
        """Return how many seconds nobody looked although it was time; 0 when this round is no later than usual.

        Call it in every round, and as often as a judgement depends on it between two. What is less than a round is
        not taken for standing still.
        """
        elapsed, self._last = now - self._last, now
        return elapsed - self._every if elapsed > 2 * self._every else 0.0
