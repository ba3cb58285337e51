"""What a lane's inbox watches beside its mailbox: sockets, and whom they belong to."""

from __future__ import annotations

from typing import Protocol


class Watchable(Protocol):
    """A socket, or anything else with a descriptor."""

    def fileno(self) -> int:
        """Return the descriptor; -1 once it is closed."""
        ...

    def detach(self) -> int:
        """Let go of the descriptor without closing it."""
        ...


class SocketOwner(Protocol):
    """Whoever registers a socket. Both methods run in the lane's thread."""

    def on_ready(self, events: int) -> None:
        """Read or write what is possible; `events` is a mask of `READ` and `WRITE`.

        An exception raised here is logged, ends the registration and comes back through `on_lost`.
        """
        ...

    def on_lost(self, error: BaseException) -> None:
        """Learn that the inbox no longer watches the socket, and why. The socket is not closed."""
        ...


class Watch:
    """One registered socket."""

    __slots__ = ("events", "fd", "owner", "sock")

    def __init__(self, sock: Watchable, fd: int, events: int, owner: SocketOwner) -> None:
        self.sock = sock
        self.fd = fd
        self.events = events
        self.owner = owner
