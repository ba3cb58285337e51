"""Exchanges: requests that are answered now or later; an answer can be spoiled on its way, as a bad network does."""

from __future__ import annotations

from typing import Literal

from benchmarks.stub.server import Connection, Server, header
from benchmarks.stub.timers import Timers

JSON, PROTOBUF = "application/json", "application/x-protobuf"
Spoiled = Literal["drop", "cut", "slow"]
_SLOW = 2.0
_REASONS = {200: "OK", 404: "Not Found", 408: "Request Timeout", 410: "Gone", 429: "Too Many Requests"}


class Exchange:
    """A request, and the way to answer it.

    Attributes:
        path: of the request.
        body: of the request.
        spoiled: how the reply is spoiled: not sent, cut in the middle, or late.
    """

    __slots__ = ("_connection", "_head", "_server", "_timers", "body", "path", "spoiled")

    def __init__(
        self, server: Server, timers: Timers, connection: Connection, path: bytes, head: bytes, body: bytes
    ) -> None:
        self._server, self._timers, self._connection, self._head = server, timers, connection, head
        self.path, self.body = path.decode(), body
        self.spoiled: Spoiled | None = None

    def header(self, name: str) -> str:
        """Return a header's value in lower case, or an empty string."""
        return header(self._head, name.encode()).lower()

    @property
    def open(self) -> bool:
        """Whether the client is still there."""
        return self._connection.sock.fileno() >= 0

    def reply(self, body: bytes, status: int = 200, content_type: str = JSON) -> None:
        """Answer the request; nothing happens when the client hung up."""
        head = f"HTTP/1.1 {status} {_REASONS.get(status, 'Error')}\r\nContent-Type: {content_type}\r\n"
        data = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        if self.spoiled == "slow":
            self._timers.call_later(_SLOW, self._server.send, self._connection, data)
        elif self.spoiled == "cut":
            self._server.send(self._connection, data[: len(data) - len(body) // 2 - 1])
            self.drop()
        elif self.spoiled == "drop":
            self.drop()
        else:
            self._server.send(self._connection, data)

    def drop(self) -> None:
        """Close without a word more."""
        self._server.close(self._connection)
