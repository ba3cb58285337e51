"""Timers: what is to be done later, on the server's one thread."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable
from typing import Any


class Timers:
    """Calls to come, by time. Seconds are on the clock that all processes of a machine share."""

    def __init__(self) -> None:
        self._calls: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._order = itertools.count()

    def call_later(self, seconds: float, act: Callable[..., object], *arguments: Any) -> None:
        """Have something called after some seconds."""
        heapq.heappush(self._calls, (time.monotonic() + seconds, next(self._order), act, arguments))

    def wait(self) -> float:
        """Return the seconds until something is due; -1 when nothing is."""
        return -1.0 if not self._calls else max(0.0, self._calls[0][0] - time.monotonic())

    def due(self, _send: object) -> None:
        """Call what is due."""
        now = time.monotonic()
        while self._calls and self._calls[0][0] <= now:
            _, _, act, arguments = heapq.heappop(self._calls)
            act(*arguments)
