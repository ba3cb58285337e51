"""Deadlines of requests: thousands of waits of a few lengths, for the price of a few timers.

Those who wait equally long expire in the order in which they came. So there is a line for each length, with one timer
for whoever is first in it; joining and leaving a line cost the same however long it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tinker_actors.runtime.timers import Timer, Timers

# A timer that runs so late, in parts of the wait and at least in seconds, says that the process stood still: it was
# stopped, or its clock jumped. Nobody looked at the sockets meanwhile, so that who waits has not been waiting.
_STOOD_STILL, _AT_LEAST = 0.5, 1.0
# Lengths that get a line kept for more of them; any other wait has a timer of its own.
_MOST_LINES = 16


class Waiting(Protocol):
    """Someone with a deadline. Its fields belong to `Deadlines`."""

    due: float
    line: Line | None

    def expire(self) -> None:
        """Learn that the time is up."""
        ...


class Line:
    """Those who wait equally long, in the order in which they came."""

    __slots__ = ("kept", "timer", "waiting")

    def __init__(self, *, kept: bool) -> None:
        self.kept = kept
        self.timer: Timer | None = None
        self.waiting: dict[Waiting, None] = {}  # an ordered set

    def leave(self, waiting: Waiting) -> None:
        """Let go of someone in it."""
        waiting.line = None
        del self.waiting[waiting]
        if not self.kept and self.timer is not None:
            self.timer.cancel()


class Deadlines:
    """Calls `expire` on those whose time is up and who did not leave their line. For the thread that owns the timers.

    Args:
        timers: what the lines wait with.
        now: their clock, in seconds.
    """

    __slots__ = ("_lines", "_now", "_timers")

    def __init__(self, timers: Timers, now: Callable[[], float]) -> None:
        self._timers = timers
        self._now = now
        self._lines: dict[float, Line] = {}

    def add(self, waiting: Waiting, timeout: float) -> None:
        """Have `waiting` expire after `timeout` seconds, unless it leaves its line before."""
        line = self._lines.get(timeout)
        if line is None:
            line = Line(kept=len(self._lines) < _MOST_LINES)
            if line.kept:
                self._lines[timeout] = line
        waiting.due = self._now() + timeout
        waiting.line = line
        line.waiting[waiting] = None
        if line.timer is None:
            self._arm(line, timeout, waiting.due)

    def clear(self) -> None:
        """Let go of everybody."""
        for line in self._lines.values():
            if line.timer is not None:
                line.timer.cancel()
            for waiting in line.waiting:
                waiting.line = None
        self._lines.clear()

    def _arm(self, line: Line, timeout: float, due: float) -> None:
        line.timer = self._timers.call_at(due, lambda: self._expire(line, timeout))

    def _expire(self, line: Line, timeout: float) -> None:
        assert line.timer is not None
        now = self._now()
        late = now - line.timer.due
        line.timer = None
        if late > max(_AT_LEAST, _STOOD_STILL * timeout):
            for waiting in line.waiting:
                waiting.due = now + timeout
        expired = []
        for waiting in line.waiting:
            if waiting.due > now:
                self._arm(line, timeout, waiting.due)
                break
            expired.append(waiting)
        for waiting in expired:
            if waiting.line is line:  # an earlier one may have taken it out
                line.leave(waiting)
                waiting.expire()
        # Whoever expired may have cleared the lines.
        if self._lines.get(timeout) is line and not line.waiting and line.timer is None:
            del self._lines[timeout]
