"""Heads: bounds on what one connection makes the server keep and how long, which uvicorn's httptools protocol lacks.

What stands before a request's body is kept in memory until it ends, and only then can anybody ask for a key. Requests
that are sent before the ones in front of them are answered are kept too, and so is what a client does not read.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tinker_actors.protocol.codec import wire_json

HEAD_BYTES = 64 * 1024
"""Most bytes of a request line and headers, not counting the piece of the stream in which they begin."""

HEAD_FIELDS = 128
"""Most headers of a request. One takes three bytes on the wire and two hundred in memory."""

HEAD_SECONDS = 60.0
"""How long a head may take, from its first byte to its last."""

UNREAD_SECONDS = 60.0
"""How long a client may leave an answer lying before its connection is reset."""

_PIECE = 4096  # bytes that are parsed before it is asked whether a request waits behind another one


class _Flow(FlowControl):
    """uvicorn's flow control, which reads nothing while requests that came too early are kept.

    Attributes:
        full: whether they are.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self.full = False

    def resume_reading(self) -> None:
        """Read on, unless there is enough to do."""
        if not self.full:
            super().resume_reading()


class Unread:
    """The memory of all answers that clients have not read yet. For the event loop's thread.

    Args:
        limit: most bytes; None for as much as they take.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._sizes: dict[asyncio.Transport, int] = {}  # the one that has not been read for longest comes first

    def grow(self, transport: asyncio.Transport) -> None:
        """Note that a client does not read; who has not for longest is cut off where it is too much for all."""
        self._sizes[transport] = transport.get_write_buffer_size()
        while self._limit is not None and len(self._sizes) > 1 and sum(self._sizes.values()) > self._limit:
            oldest = next(iter(self._sizes))
            del self._sizes[oldest]
            oldest.abort()

    def drop(self, transport: asyncio.Transport) -> None:
        """Note that a client has read, or is gone."""
        self._sizes.pop(transport, None)


class HeadProtocol(HttpToolsProtocol):
    """uvicorn's protocol with bounds: 431 for an endless head, 408 for a slow one, a reset for who does not read.

    Requests in advance are parsed a few at a time; the rest waits as the bytes it is, and behind it the socket.

    Attributes:
        unread: what all connections of a server have in common; set by a subclass.
    """

    flow: _Flow
    unread = Unread(None)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head: object | None = None  # of the request whose head is being read
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        self._early = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; a client that has connected is as idle as one between two requests."""
        super().connection_made(transport)
        self.flow = _Flow(transport)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        super().connection_lost(exc)
        self.unread.drop(self.transport)
        self._early = b""
        self._unset_keepalive_if_required()
        self._stop_head_timer()
        self._stop_unread_timer()

    def data_received(self, data: bytes) -> None:
        """Take a piece of the stream."""
        if self._early:
            self._early += data  # reading has been paused, so this was on its way
            return
        if len(data) <= _PIECE:
            self._parse(data)
            return
        for place in range(0, len(data), _PIECE):
            if self.pipeline:
                self._early = data[place:]
                return
            if self.transport.is_closing():
                return
            self._parse(data[place : place + _PIECE])

    def on_response_complete(self) -> None:
        """Go on with what came early."""
        super().on_response_complete()
        if self.flow.full and not self.pipeline:
            self.loop.call_soon(self._go_on)  # later, so that answers in a row don't nest

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._head = self.headers
        self._head_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header.

        Raises:
            ValueError: there are too many; the parser stops.
        """
        super().on_header(name, value)
        if len(self.headers) > HEAD_FIELDS:
            self._refuse("431 Request Header Fields Too Large", f"more than {HEAD_FIELDS} fields")
            raise ValueError("too many headers")

    def on_headers_complete(self) -> None:
        """End a request's head."""
        self._head = None
        super().on_headers_complete()
        if self.pipeline:
            self.flow.full = True

    def pause_writing(self) -> None:
        """Wait for a client that does not read, for a while."""
        super().pause_writing()
        self.unread.grow(self.transport)
        if self._unread_timer is None:
            self._unread_timer = self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on writing."""
        super().resume_writing()
        self.unread.drop(self.transport)
        self._stop_unread_timer()

    def _go_on(self) -> None:
        if self.transport.is_closing() or self.pipeline:
            return
        early, self._early = self._early, b""
        self.flow.full = False
        if early:
            self.data_received(early)
        self.flow.resume_reading()

    def _parse(self, data: bytes) -> None:
        head = self._head
        super().data_received(data)
        if self._head is None:
            self._stop_head_timer()
            return
        if head is self._head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse("431 Request Header Fields Too Large", f"larger than {HEAD_BYTES} bytes")
                return
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self.flow.full:  # we have not looked for what is left of it
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._head_is_late)
            return
        self._refuse("408 Request Timeout", f"not complete after {HEAD_SECONDS:g} seconds")

    def _refuse(self, status: str, why: str) -> None:
        if self.transport.is_closing():
            return
        body = wire_json.encode({"detail": f"The request line and headers are {why}."})
        headers = b"".join(b"%b: %b\r\n" % header for header in self.server_state.default_headers)
        self.transport.write(
            b"HTTP/1.1 %b\r\nconnection: close\r\n%bcontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (status.encode(), headers, len(body), body)
        )
        self.transport.close()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_unread_timer(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None
