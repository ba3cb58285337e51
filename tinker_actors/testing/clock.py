"""A clock that moves when told to."""

from __future__ import annotations


class FakeClock:
    """A monotonic clock under a test's control. Not thread-safe.

    Args:
        start: the first time, in seconds.
    """

    def __init__(self, start: float = 1000.0) -> None:
        self._now = start

    def now(self) -> float:
        """Return the time in seconds."""
        return self._now

    def advance_to(self, moment: float) -> None:
        """Move forward to `moment`; a moment in the past changes nothing."""
        self._now = max(self._now, moment)
