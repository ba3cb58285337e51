"""Waiting for sockets: the system's own call, without the objects that `selectors` makes for each event.

Where there is no epoll, `selectors` picks what the system has. Descriptors are plain numbers here; who stands behind
them is the inbox's business.
"""

from __future__ import annotations

import math
import select
import selectors
from collections.abc import Callable
from typing import Protocol

READ = 1
WRITE = 2

# epoll's bits for the same two, and what each of them leaves over: an error or a hang-up is news for both sides.
_IN, _OUT = getattr(select, "EPOLLIN", 1), getattr(select, "EPOLLOUT", 4)


# epoll counts in an int of C; whoever waits longer is woken in between and waits on.
_MOST_MILLISECONDS = 2**31 - 2**10


class Poller(Protocol):
    """Watches descriptors. For one thread; any call may raise OSError, ValueError or KeyError."""

    def register(self, fd: int, events: int) -> None:
        """Watch a descriptor; `events` is a mask of `READ` and `WRITE`."""
        ...

    def modify(self, fd: int, events: int) -> None:
        """Watch it for other events."""
        ...

    def unregister(self, fd: int) -> None:
        """Watch it no more."""
        ...

    def wait(self, timeout: float | None) -> list[tuple[int, int]]:
        """Return the ready descriptors with their events, after `timeout` seconds at the latest; None waits on."""
        ...

    def close(self) -> None:
        """Give the system's resources back."""
        ...


class EpollPoller:
    """The poller of Linux."""

    def __init__(self) -> None:
        self._epoll = select.epoll()

    def register(self, fd: int, events: int) -> None:
        """Watch a descriptor."""
        self._epoll.register(fd, _mask(events))

    def modify(self, fd: int, events: int) -> None:
        """Watch it for other events."""
        self._epoll.modify(fd, _mask(events))

    def unregister(self, fd: int) -> None:
        """Watch it no more."""
        self._epoll.unregister(fd)

    def wait(self, timeout: float | None) -> list[tuple[int, int]]:
        """Return what is ready. The timeout is rounded up to epoll's milliseconds, so that no timer is too early."""
        if timeout:
            timeout = min(math.ceil(timeout * 1e3), _MOST_MILLISECONDS) * 1e-3
        ready = self._epoll.poll(timeout)
        for index, (fd, events) in enumerate(ready):
            if events != _IN:  # the usual one is the same number in both worlds
                ready[index] = (fd, (READ if events & ~_OUT else 0) | (WRITE if events & ~_IN else 0))
        return ready

    def close(self) -> None:
        """Close the epoll descriptor."""
        self._epoll.close()


class SelectorsPoller:
    """The poller of all other systems."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def register(self, fd: int, events: int) -> None:
        """Watch a descriptor."""
        self._selector.register(fd, events)

    def modify(self, fd: int, events: int) -> None:
        """Watch it for other events."""
        self._selector.modify(fd, events)

    def unregister(self, fd: int) -> None:
        """Watch it no more."""
        self._selector.unregister(fd)

    def wait(self, timeout: float | None) -> list[tuple[int, int]]:
        """Return what is ready."""
        return [(key.fd, events) for key, events in self._selector.select(timeout)]

    def close(self) -> None:
        """Close the selector."""
        self._selector.close()


def make_glance(fd: int) -> Callable[[int], object]:
    """Return what tells, called with 0, whether something can be read from a descriptor: data, its end or an error.

    The cheapest way to ask about one: a third of what an attempt to read costs where there is nothing.
    """
    if not hasattr(select, "poll"):
        return lambda timeout: select.select([fd], [], [], timeout)[0]
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return poll.poll


def make_poller() -> Poller:
    """Return the best poller this system has.

    Raises:
        OSError: the system has no descriptor left for it.
    """
    return EpollPoller() if hasattr(select, "epoll") else SelectorsPoller()


def _mask(events: int) -> int:
    return (_IN if events & READ else 0) | (_OUT if events & WRITE else 0)
