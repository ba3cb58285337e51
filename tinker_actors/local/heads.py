"""Heads: a bound on what stands before a request's body, which uvicorn's httptools protocol does not have.

It is kept in memory until it ends, and only then can anybody ask for a key.
"""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tinker_actors.protocol import codec

HEAD_BYTES = 64 * 1024
"""Most bytes of a request line and headers, not counting the piece of the stream in which they begin."""


class HeadProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which answers an endless head with 431 and closes the connection."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head: object | None = None  # of the request whose head is being read
        self._head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Take a piece of the stream."""
        head = self._head
        super().data_received(data)
        if head is not None and head is self._head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
                self._refuse()

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._head = self.headers
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """End a request's head."""
        self._head = None
        super().on_headers_complete()

    def _refuse(self) -> None:
        body = codec.encode({"detail": f"The request line and headers are larger than {HEAD_BYTES} bytes."})
        headers = b"".join(b"%b: %b\r\n" % header for header in self.server_state.default_headers)
        self.transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n%b"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % (headers, len(body)) + body
        )
        self.transport.close()
