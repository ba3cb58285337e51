"""The rate window: for how long nothing is submitted after a server said that it is too much.

Plain numbers that the lanes of a server share. Writing them is one thread's turn at a time, reading needs no lock: who
reads a moment too early sends a request too many. Time is an argument, in seconds.
"""

from __future__ import annotations

# At least so long, whatever the server asks: the first time, and the most while it goes on to refuse.
_SHORTEST, _LONGEST_FLOOR = 0.25, 1.0
_MOST_DOUBLINGS = 8
# What was answered so soon behind a refusal was dealt with before it.
_SAME_MOMENT = 0.1


class RateWindow:
    """When submitting may go on. Shared by all that use one server with one key; safe to use from several threads.

    Attributes:
        until: nothing is submitted before this time.
        strained: whether nothing was accepted since the last refusal.
    """

    __slots__ = ("_refused", "_times", "strained", "until")

    def __init__(self) -> None:
        self.until = float("-inf")
        self.strained = False
        self._refused = float("-inf")
        self._times = 0  # pauses in a row, without anything accepted between them

    def refused(self, wait: float, now: float) -> None:
        """Pause after a 429.

        Args:
            wait: seconds that the server asked for, or that are usual.
            now: the time.
        """
        if now >= self.until:
            self._times += 1
        floor = min(_LONGEST_FLOOR, _SHORTEST * 2.0 ** min(self._times - 1, _MOST_DOUBLINGS))
        self.until = max(self.until, now + max(wait, floor))
        self._refused = now
        self.strained = True

    def accepted(self, now: float) -> bool:
        """Note that the server accepted a request: it takes requests again, whatever it said before.

        Returns:
            Whether that ended a pause.
        """
        if now - self._refused < _SAME_MOMENT:
            return False
        self._times = 0
        self.strained = False
        if now >= self.until:
            return False
        self.until = now
        return True
