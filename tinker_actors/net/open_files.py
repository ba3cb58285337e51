"""How many more files this process may open.

Sockets are files, and the system's limit on them is shared by everything in the process. Whoever opens many asks here
first, so that what others need at any moment (a log file, a checkpoint) is still to be had.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable

from tinker_actors.runtime.forks import on_fork

try:
    import resource
except ImportError:  # not on Windows, which has no such limit
    resource = None  # type: ignore[assignment]

# Files left to everybody else: a part of the limit, within these bounds.
_RESERVED_PART = 10
_LEAST_RESERVED = 16
_MOST_RESERVED = 256
# The files are counted anew after so many were granted, and at most once in so many seconds when there was no room.
_GRANTS_PER_COUNT = 256
_SECONDS_BETWEEN_COUNTS = 0.25
_LISTINGS = ("/proc/self/fd", "/dev/fd")

NONE_LEFT = (errno.EMFILE, errno.ENFILE)
"""What the system says when the process, or the machine, has no descriptor left."""


def file_limit() -> int | None:
    """Return how many files this process may have open (the soft limit), or None when there is no limit."""
    if resource is None:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def count_open_files() -> int:
    """Return how many files this process has open; 0 where the system does not tell."""
    for listing in _LISTINGS:
        try:
            return len(os.listdir(listing))  # noqa: PTH208 - a path object for each of thousands
        except OSError as error:
            if error.errno in NONE_LEFT:
                return file_limit() or 0  # not even for looking
    return 0


class OpenFiles:
    """Grants files while there is room for them. Thread-safe.

    It counts what is open now and then, and what it granted in between; what was closed shows in the next count.

    Args:
        limit: tells the limit, or None without one.
        count: counts the open files.
    """

    def __init__(
        self, limit: Callable[[], int | None] = file_limit, count: Callable[[], int] = count_open_files
    ) -> None:
        self._limit = limit
        self._count = count
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget everything; also in a forked child, where the lock may be held by a thread that is not there."""
        self._guard = threading.Lock()
        self._left = 0
        self._coming = 0
        self._counted = float("-inf")

    def grant(self, now: float, *, always: bool = False) -> bool:
        """Return whether one more file may be opened, and count it; call `arrived` when it was opened, or will not be.

        Args:
            now: monotonic time in seconds.
            always: grant it in any case.
        """
        with self._guard:
            if self._left <= 0 and now - self._counted >= _SECONDS_BETWEEN_COUNTS:
                room = self._room()
                self._left = min(room, _GRANTS_PER_COUNT)
                self._counted = now if room <= 0 else float("-inf")
            if self._left <= 0 and not always:
                return False
            self._left -= 1
            self._coming += 1
            return True

    def arrived(self) -> None:
        """Learn that a granted file is open, or will not be opened."""
        with self._guard:
            self._coming -= 1

    def exhausted(self, now: float) -> None:
        """Learn that the system refused to open a file."""
        with self._guard:
            self._left = 0
            self._counted = now

    def _room(self) -> int:
        limit = self._limit()
        if limit is None:
            return _GRANTS_PER_COUNT
        reserved = min(max(limit // _RESERVED_PART, _LEAST_RESERVED), _MOST_RESERVED)
        return limit - reserved - self._count() - self._coming


shared_files = OpenFiles()
"""The files of this process."""
on_fork(shared_files.begin_anew)
