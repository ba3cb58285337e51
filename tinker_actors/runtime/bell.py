"""The bell: what other threads wake a lane with.

The lane's poller watches one descriptor that any thread can make readable. Linux has one made for this, which costs a
third of a pair of sockets; elsewhere it is the pair.
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
import sys
from typing import Protocol

_ONE = (1).to_bytes(8, sys.byteorder)


class Bell(Protocol):
    """Rings in one thread, is heard in another."""

    def fileno(self) -> int:
        """Return the descriptor to watch for reading; -1 when it is closed."""
        ...

    def ring(self) -> None:
        """Make the descriptor readable. From any thread; never blocks and never raises."""
        ...

    def hush(self) -> None:
        """Make it unreadable again. Never raises."""
        ...

    def detach(self) -> int:
        """Let go of the watched descriptor, which somebody else closed already; return it."""
        ...

    def close(self) -> None:
        """Close it. May be called twice, and on a descriptor that somebody else closed."""
        ...


class EventBell:
    """A bell of one eventfd. Written to as a file, because a closed file says so and a reused number does not."""

    __slots__ = ("_file",)

    def __init__(self) -> None:
        self._file = io.FileIO(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC), "r+", closefd=False)

    def fileno(self) -> int:
        """Return the descriptor to watch."""
        return -1 if self._file.closed else self._file.fileno()

    def ring(self) -> None:
        """Add to the counter; when that is full, it rings already."""
        try:
            self._file.write(_ONE)
        except (OSError, ValueError):
            return  # closed: there is nobody to hear

    def hush(self) -> None:
        """Set the counter to zero."""
        try:
            self._file.read(len(_ONE))
        except (OSError, ValueError):
            return  # lost: whoever watches it finds out

    def detach(self) -> int:
        """Let go of the descriptor without closing it."""
        fd = self.fileno()
        self._file.close()
        return fd

    def close(self) -> None:
        """Close the descriptor, after nobody can write to it any more."""
        fd = self.detach()
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)


class SocketBell:
    """A bell of two sockets."""

    __slots__ = ("_heard", "_rung")

    def __init__(self) -> None:
        self._rung, self._heard = socket.socketpair()
        self._rung.setblocking(False)
        self._heard.setblocking(False)

    def fileno(self) -> int:
        """Return the descriptor to watch."""
        return self._heard.fileno()

    def ring(self) -> None:
        """Send a byte."""
        with contextlib.suppress(OSError):  # full: it rings already; closed: there is nobody to hear
            self._rung.send(b"\0")

    def hush(self) -> None:
        """Take all bytes out."""
        with contextlib.suppress(OSError):
            self._heard.recv(4096)

    def detach(self) -> int:
        """Let go of the watched descriptor without closing it."""
        return self._heard.detach()

    def close(self) -> None:
        """Close both sockets."""
        for end in (self._rung, self._heard):
            with contextlib.suppress(OSError):
                end.close()


def make_bell() -> Bell:
    """Return the cheapest bell this system has.

    Raises:
        OSError: the system has no descriptor left for it.
    """
    return EventBell() if hasattr(os, "eventfd") else SocketBell()
