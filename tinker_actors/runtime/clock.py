"""Clocks: where the runtime reads the time.

Every decision takes the time as an argument; this is the one place that asks the machine for it, so that a
simulation can put another clock in its place.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Something that knows the time since an arbitrary moment."""

    def now(self) -> float:
        """Return the monotonic time in seconds. Callable from any thread."""
        ...


class MonotonicClock:
    """The machine's monotonic clock: never jumps when the wall clock is set."""

    # The function itself: every step of every sample reads it, and a method around it doubles the price.
    now = staticmethod(time.monotonic)


class WallClock(Protocol):
    """Something that knows the date; only for comparing with dates that servers send."""

    def __call__(self) -> float:
        """Return seconds since 1970. Callable from any thread."""
        ...
