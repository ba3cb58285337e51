"""Gates: one thread waits until another says that it may go on.

A signal handler can interrupt the one that waits anywhere, and may itself wait for what the other one does next. So
opening must never wait for the one in front, as it does with `threading.Event` and `Condition`, which hold a lock
between two lines of Python. A gate is a lock that whoever waits takes, and whoever opens it gives back.
"""

from __future__ import annotations

import threading


class Gate:
    """Closed until it is opened, once, for one thread that waits. Callable from any thread, also in signal handlers."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def open(self) -> None:
        """Let whoever waits go on. Never waits itself; the second time nothing happens."""
        try:  # and no context manager, which costs three calls more
            self._lock.release()
        except RuntimeError:  # open already
            return

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the gate is open, for so many seconds at most; return whether it is. Closes it again."""
        # A lock takes no negative and no endless number of seconds.
        return self._lock.acquire(timeout=-1 if timeout is None else min(max(timeout, 0.0), threading.TIMEOUT_MAX))
