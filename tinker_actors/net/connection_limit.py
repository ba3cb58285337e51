"""How many connections a transport may have: what its user set, and what the process may open.

Requests that find no connection free wait for one, which is no error and may go unnoticed for long. So the first time
it happens for more than a moment, a warning says what binds and what to raise.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

from tinker_actors.net.open_files import OpenFiles, file_limit, shared_files
from tinker_actors.runtime.timers import Timer, Timers

logger = logging.getLogger("tinker_actors")

Binding = Literal["connections", "files"]

# These few are left to every transport, whatever the process has open: heartbeats must not wait for samples.
_ALWAYS_ALLOWED = 4
# Requests that wait no longer than this are not worth a warning; after it, files are asked for again.
_MOMENT = 0.5
# How fast the number of connections that can be counted on grows again: by a tenth in each round, then without limit.
_SECONDS_PER_ROUND = 5.0
_GROWTH_PER_ROUND = 1.1
_MOST_ROUNDS = 50


class ConnectionLimit:
    """Decides whether one more connection may be opened, and warns once. For the lane's thread.

    Args:
        most: connections at once.
        where: the server, for the warning.
        timers: the lane's.
        now: their clock, in seconds.
        waiting: counts the requests that wait for a connection.
        retry: called some time after a refusal, if requests still wait.
        files: the files of the process.

    Attributes:
        most: connections at once.
        warned: whether the warning is out.
    """

    def __init__(
        self,
        most: int,
        where: str,
        timers: Timers,
        now: Callable[[], float],
        waiting: Callable[[], int],
        retry: Callable[[], None],
        files: OpenFiles = shared_files,
    ) -> None:
        self.most = most
        self.warned = False
        self._where = where
        self._timers = timers
        self._now = now
        self._waiting = waiting
        self._retry = retry
        self._files = files
        self._refused = float("-inf")
        self._refused_at = 0
        self._timer: Timer | None = None

    def allows(self, held: int) -> bool:
        """Return whether a connection may be opened beside `held` that are open or being opened.

        If so, call `arrived` when it is open or will not be.
        """
        if held >= self.most:
            if not self.warned:
                self._look_again("connections", held)
            return False
        now = self._now()
        if held and now - self._refused < _MOMENT:
            self._look_again("files", held)  # the timer of an earlier refusal may be what asked
            return False
        if self._files.grant(now, always=held < _ALWAYS_ALLOWED):
            return True
        self._note_refusal(now, held)
        return False

    def capacity(self) -> int:
        """Return how many connections can be counted on, for those who would hold many of them at once.

        Less than allowed while files are short: what there was when the last one was refused, and some more as time
        goes by, to find out whether there is room again.
        """
        rounds = (self._now() - self._refused) / _SECONDS_PER_ROUND
        if rounds >= _MOST_ROUNDS:
            return self.most
        return min(self.most, max(int(self._refused_at * _GROWTH_PER_ROUND ** int(rounds)), _ALWAYS_ALLOWED))

    def arrived(self) -> None:
        """Learn that a connection that was allowed is open, or will not be."""
        self._files.arrived()

    def refused(self, held: int) -> None:
        """Learn that the system had no file for a connection, which is kept from being tried again at once."""
        now = self._now()
        self._files.exhausted(now)
        self._note_refusal(now, held)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _note_refusal(self, now: float, held: int) -> None:
        self._refused, self._refused_at = now, held
        self._look_again("files", held)

    def _look_again(self, binding: Binding, held: int) -> None:
        if self._timer is None:
            self._timer = self._timers.call_at(self._now() + _MOMENT, lambda: self._look(binding, held))

    def _look(self, binding: Binding, held: int) -> None:
        self._timer = None
        waiting = self._waiting()
        if not waiting:
            return
        self._retry()
        if not self.warned:
            self.warned = True
            logger.warning(_TEXTS[binding], self._where, held, waiting, *_advice(binding, self.most))


_TEXTS: dict[Binding, str] = {
    "connections": "%s: all %d connections allowed are in use and %d requests wait for one. The client's own limit "
    "binds: raise it with Config(max_connections=...), which is %d.",
    "files": "%s: %d connections are in use and %d requests wait for one. The process's limit on open files binds: "
    "raise it with `ulimit -n`, which is %s; Config(max_connections=%d) would allow more.",
}


def _advice(binding: Binding, most: int) -> tuple[object, ...]:
    return (most,) if binding == "connections" else (file_limit(), most)
