"""Workspace: memory for what is being computed, shared by the threads that compute."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class Workspace:
    """Lets computations run at the same time that fit into memory together; the others wait. Thread-safe.

    Args:
        limit: bytes for all; None for as much as they take. One that needs more runs when no other does.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self._used = 0
        self._running = 0
        self._news = threading.Condition()

    @contextlib.contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Have memory in a block, when there is room for it.

        Args:
            size: about how many bytes the block takes at most.
        """
        with self._news:
            self._news.wait_for(lambda: self._fits(size))
            self._used += size
            self._running += 1
        try:
            yield
        finally:
            with self._news:
                self._used -= size
                self._running -= 1
                self._news.notify_all()

    def _fits(self, size: int) -> bool:
        return self._limit is None or not self._running or self._used + size <= self._limit
