"""The transport port: one request out, one answer back.

Everything an actor sends goes through this port. The HTTP transport implements it with sockets, the simulated
network with a seed. A transport makes exactly one attempt; whether to try again is decided elsewhere. What is part of
getting one request to the server is its own affair: a kept connection that the server was closing, and a redirect on
the same server.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

Phase = Literal["connect", "send", "wait", "body"]
BrokenKind = Literal["connect", "tls", "timeout", "reset", "closed", "protocol", "encoding", "too_large"]


class Request(msgspec.Struct, frozen=True, eq=False):
    """One HTTP request, addressed below the transport's base URL.

    Attributes:
        method: `"GET"`, `"POST"`, ...
        path: absolute path below the base URL's own path, already percent-encoded, with its query.
        headers: names and values beside those the transport always sends; remembered in their encoded form.
        body: the body in pieces, sent in order without being joined.
        timeout: seconds from handing over (a wait for a free connection included) to the complete answer.
        own_headers: names and values that no other request has.
        once: whether it must not reach the server twice. Then it goes on a fresh connection, which the server can't
            be closing.
    """

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: tuple[bytes, ...] = ()
    timeout: float = 60.0
    own_headers: tuple[tuple[str, str], ...] = ()
    once: bool = False

    def __repr__(self) -> str:
        """Return method, path and size; headers and bodies may hold what must not be logged."""
        return f"<Request {self.method} {self.path}, {sum(map(len, self.body))} bytes>"


class Reply(msgspec.Struct, frozen=True, eq=False):
    """A complete HTTP response.

    Attributes:
        status: the status code.
        headers: names in lower case; a repeated name keeps its last value.
        body: the whole body, decoded from its transfer encoding.
    """

    status: int
    headers: dict[str, str]
    body: bytes


class Broken(msgspec.Struct, frozen=True, eq=False):
    """No complete response came, and how far the attempt got.

    Attributes:
        kind: what went wrong.
        phase: in which part of the exchange.
        message: one sentence for people, without any header value.
        sent: whether any byte of the request may have reached the server. When False the server can't have
            applied it.
    """

    kind: BrokenKind
    phase: Phase
    message: str
    sent: bool


class NoFiles(Broken, frozen=True, eq=False):
    """No connection could be opened, because the process or the system has as many open files as it may have."""


Answer = Reply | Broken


class Ticket(Protocol):
    """A request under way."""

    @property
    def seen(self) -> bool:
        """Whether the server may have seen any of it."""
        ...

    def cancel(self) -> None:
        """Give up the request: its callback will not run. Only on the transport's own thread."""
        ...

    def reject(self) -> None:
        """Say that the answer can't be this request's: what it came on is used no more. Only inside the callback."""
        ...


class Transport(Protocol):
    """Sends requests, one attempt each. Used from one thread only, the lane's."""

    @property
    def capacity(self) -> int:
        """How many requests can be under way at a time without one waiting for another."""
        ...

    def send(self, request: Request, on_answer: Callable[[Answer], None]) -> Ticket:
        """Start one attempt. `on_answer` runs once, later, on this same thread; never inside `send`."""
        ...

    def close(self) -> None:
        """Close every connection. Requests under way are dropped without an answer."""
        ...
