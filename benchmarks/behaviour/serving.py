"""HTTP for the stub: one thread, one event loop, and a parser that knows just what clients of a benchmark send.

A service answers requests now or later, through the connection that they came on; what a connection says can be
spoiled on the way out, as a bad network does. Runs until its standard input closes, so that it can't outlive whoever
started it.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import sys
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

JSON, PROTOBUF = "application/json", "application/x-protobuf"
Spoiled = Literal["drop", "cut", "slow"]
_SLOW = 2.0
_BACKLOG = 4_096
_ACCEPTED_AT_A_TIME = 8
_REASONS = {200: "OK", 404: "Not Found", 408: "Request Timeout", 410: "Gone", 429: "Too Many Requests"}


class Request(NamedTuple):
    """What came in. Header names in `head` are lower case."""

    path: str
    head: bytes
    body: bytes

    def header(self, name: str) -> str:
        """Return a header's value, or an empty string."""
        start = self.head.find(b"\r\n%s:" % name.encode())
        if start < 0:
            return ""
        end = self.head.find(b"\r\n", start + 2)
        return self.head[start + len(name) + 3 : len(self.head) if end < 0 else end].strip().decode("latin-1")


class Answering(Protocol):
    """What a service is for a connection."""

    def answer(self, connection: Connection, request: Request) -> None:
        """Answer with `connection.reply`, at once or later."""
        ...

    def opened(self, change: int) -> None:
        """Hear that there is one connection more, or one less."""
        ...


class Connection(asyncio.Protocol):
    """A client's connection. Requests are taken one after the other, as HTTP/1.1 clients send them.

    Attributes:
        spoiled: how the next reply is spoiled: not sent, cut in the middle, or late.
    """

    def __init__(self, service: Answering) -> None:
        self._service = service
        self._transport: asyncio.Transport | None = None
        self._incoming = bytearray()
        self.spoiled: Spoiled | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._transport = transport
        self._service.opened(1)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """See `asyncio.Protocol`."""
        self._transport = None
        self._service.opened(-1)

    @property
    def open(self) -> bool:
        """Whether the client is still there."""
        return self._transport is not None

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        incoming = self._incoming
        incoming += data
        while (end := incoming.find(b"\r\n\r\n")) >= 0:
            first, _, headers = bytes(incoming[:end]).partition(b"\r\n")
            request = Request(first.split(b" ", 2)[1].decode(), b"\r\n" + headers.lower(), b"")
            body_ends = end + 4 + int(request.header("content-length") or 0)
            if len(incoming) < body_ends:
                return
            request = request._replace(body=bytes(incoming[end + 4 : body_ends]))
            del incoming[:body_ends]
            self._service.answer(self, request)

    def reply(self, body: bytes, status: int = 200, content_type: str = JSON) -> None:
        """Answer the request; nothing happens when the client hung up."""
        spoiled, self.spoiled = self.spoiled, None
        head = f"HTTP/1.1 {status} {_REASONS.get(status, 'Error')}\r\nContent-Type: {content_type}\r\n"
        data = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        if spoiled == "slow":
            asyncio.get_running_loop().call_later(_SLOW, self._write, data)
        elif spoiled == "cut":
            self._write(data[: len(data) - len(body) // 2 - 1])
            self.drop()
        elif spoiled == "drop":
            self.drop()
        else:
            self._write(data)

    def drop(self) -> None:
        """Close without a word more."""
        if self._transport is not None:
            self._transport.close()

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


async def serve(service: Answering) -> None:
    """Serve on a free loopback port, whose number is the first line of standard output, until standard input ends."""
    loop = asyncio.get_running_loop()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    listener = socket.create_server(("127.0.0.1", 0))
    # asyncio takes as many connections in one turn as its backlog says, and all else waits for them meanwhile. So it is
    # told a few, and the system many.
    await loop.create_server(lambda: Connection(service), sock=listener, backlog=_ACCEPTED_AT_A_TIME)
    listener.listen(_BACKLOG)
    print(listener.getsockname()[1], flush=True)
    ended = loop.create_future()
    await loop.connect_read_pipe(lambda: _Lifeline(lambda: ended.done() or ended.set_result(None)), sys.stdin)
    await ended


class _Lifeline(asyncio.Protocol):
    def __init__(self, cut: Callable[[], Any]) -> None:
        self._cut = cut

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._cut()
