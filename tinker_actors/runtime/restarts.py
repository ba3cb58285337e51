"""Restart rules: how often a child may be restarted before that is given up."""

from __future__ import annotations

from collections import deque


class RestartIntensity:
    """Allows a number of restarts within a period, as OTP supervisors do. Plain state for one owner.

    Args:
        most: restarts allowed within the period.
        period: seconds.
    """

    def __init__(self, most: int = 5, period: float = 60.0) -> None:
        self._most = most
        self._period = period
        self._times: deque[float] = deque()

    def allow(self, now: float) -> bool:
        """Count a restart at `now` and return whether it is within the limit."""
        self._times.append(now)
        while self._times and self._times[0] <= now - self._period:
            self._times.popleft()
        return len(self._times) <= self._most
