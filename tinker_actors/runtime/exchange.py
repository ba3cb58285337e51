"""One HTTP request and its response, as a state machine without sockets.

Bytes to write come out, bytes read go in, and at the end there is an answer: a `Reply`, or a `Broken` that says
how far things got, because that decides whether the request may be sent again. The connection moves the bytes;
`httptools` parses them.
"""

from __future__ import annotations

import zlib
from typing import Literal, NoReturn

import httptools

from tinker_actors.runtime.inflating import GzipBody
from tinker_actors.runtime.transport import Answer, Broken, BrokenKind, Phase, Reply

State = Literal["sending", "waiting", "headers", "body", "done", "failed"]
Event = Literal["sent", "begun", "interim", "headed", "ended", "broke"]

# "sending" and "waiting" end with the first byte of a response, which may come before the request is out.
# An interim response (1xx) leads back to waiting for the real one.
_MOVES: dict[State, dict[Event, State]] = {
    "sending": {"sent": "waiting", "begun": "headers", "broke": "failed"},
    "waiting": {"sent": "waiting", "begun": "headers", "broke": "failed"},
    "headers": {"sent": "headers", "interim": "waiting", "headed": "body", "broke": "failed"},
    "body": {"sent": "body", "ended": "done", "broke": "failed"},
    "done": {},
    "failed": {},
}

# The port's phases: "wait" means that no byte of the response came, "body" that it had begun.
_PHASES: dict[State, Phase] = {"sending": "send", "waiting": "wait", "headers": "body", "body": "body"}

_CLOSED: dict[State, str] = {
    "sending": "the server closed the connection while the request was being sent",
    "waiting": "the server closed the connection before it answered",
    "headers": "the server closed the connection in the middle of the response's headers",
    "body": "the server closed the connection in the middle of the response's body",
}

# Smaller requests are joined: one write is cheaper than two.
_JOIN_BELOW = 64 * 1024
# Most bytes offered to one write; a TLS write has to be repeated with the same bytes when it would block.
_LARGEST_WRITE = 256 * 1024
_GZIP = frozenset({"gzip", "x-gzip"})
_SWITCHING_PROTOCOLS = 101
_FIRST_FINAL_STATUS = 200


class Exchange:
    """A request being sent and its response being read. Used once, from one thread.

    The `on_...` methods are called by the parser, which looks for these names.

    Args:
        method: the request's method; a response to `HEAD` has no body whatever its headers say.
        head: request line and headers, complete.
        body: the request's body in pieces.
        max_header_bytes: limit for the headers of the response (interim responses included).
        max_body_bytes: limit for its body, after decompression.

    Attributes:
        state: where the exchange is; see the table above.
        outcome: the answer, or None while there is none.
        keep_alive: once done, whether the connection can carry another request.
        sent: whether any byte of the request may have reached the server.
    """

    __slots__ = (
        "_body",
        "_fed",
        "_gzip",
        "_head_bytes",
        "_headers",
        "_is_head",
        "_max_body",
        "_max_head",
        "_offset",
        "_parser",
        "_refusal",
        "_size",
        "_status",
        "_unsent",
        "_until_close",
        "keep_alive",
        "outcome",
        "sent",
        "state",
    )

    def __init__(
        self,
        method: str,
        head: bytes,
        body: tuple[bytes, ...] = (),
        *,
        max_header_bytes: int = 64 * 1024,
        max_body_bytes: int = 256 * 1024 * 1024,
    ) -> None:
        self.state: State = "sending"
        self.outcome: Answer | None = None
        self.keep_alive = False
        self.sent = False
        self._is_head = method == "HEAD"
        self._max_head = max_header_bytes
        self._max_body = max_body_bytes
        self._unsent = _pieces(head, body)
        self._offset = 0
        self._headers: dict[str, str] = {}
        self._head_bytes = 0
        self._fed = 0
        self._status = 0
        self._until_close = False
        self._body: list[bytes] = []
        self._size = 0
        self._gzip: GzipBody | None = None
        self._refusal: tuple[BrokenKind, str] | None = None
        # Refers back to this object; dropped at the end, so that no cycle is left to the garbage collector.
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    def next_bytes(self) -> bytes | memoryview | None:
        """Return what to write now, the same until `wrote` is called; None when all is written."""
        if not self._unsent:
            return None
        piece = self._unsent[-1]
        if self._offset == 0 and len(piece) <= _LARGEST_WRITE:
            return piece
        return memoryview(piece)[self._offset : self._offset + _LARGEST_WRITE]

    def wrote(self, count: int) -> None:
        """Note that the first `count` bytes of `next_bytes` were accepted."""
        self.sent = True
        self._offset += count
        if self._offset == len(self._unsent[-1]):
            self._unsent.pop()
            self._offset = 0
            if not self._unsent:
                self._move("sent")

    def feed(self, data: bytes | memoryview) -> None:
        """Take bytes read from the connection. Afterwards look at `outcome`."""
        parser = self._parser
        if parser is None:
            self.keep_alive = False
            return
        try:
            parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._note_parser_error(error)
        if self.outcome is not None:
            self._parser = None
        elif self.state != "body":
            # Counted here too, because the parser keeps an unfinished header to itself.
            self._fed += len(data)
            if self._fed > self._max_head:
                self.fail("too_large", "the response's headers are larger than allowed")

    def eof(self) -> None:
        """Note that the server closed its side. Ends a body that is delimited by that, breaks all else."""
        if self.outcome is not None:
            self.keep_alive = False
        elif self.state == "body" and self._until_close:
            self._finish(keep_alive=False)
        else:
            self.fail("closed", _CLOSED[self.state])
        self._parser = None

    def fail(self, kind: BrokenKind, message: str) -> None:
        """End the exchange without a response, unless it has ended already."""
        if self.outcome is not None:
            return
        self.outcome = Broken(kind, _PHASES[self.state], message, self.sent)
        self._move("broke")
        self.keep_alive = False
        self._parser = None

    def on_message_begin(self) -> None:
        """Note the first byte of a response."""
        if self.outcome is None:
            self._move("begun")
        else:
            self.keep_alive = False  # bytes that nobody asked for

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header; what comes after the body (a trailer) is only counted."""
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > self._max_head:
            self._refuse("too_large", "the response's headers are larger than allowed")
        if self.state == "headers":
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1").rstrip(" \t")

    def on_headers_complete(self) -> None:
        """Decide from status and headers how the body ends."""
        if self.outcome is not None:
            return
        assert self._parser is not None
        status = self._parser.get_status_code()
        if status < _FIRST_FINAL_STATUS:
            if status == _SWITCHING_PROTOCOLS:
                self._refuse("protocol", "the server switched to another protocol, which nobody asked for")
            self._status = 0
            self._headers.clear()
            return
        self._status = status
        self._move("headed")
        if self._is_head:
            self._finish(keep_alive=self._parser.should_keep_alive())
            return
        self._look_at_body_headers()

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        if self.outcome is not None:
            self.keep_alive = False
            return
        if self._gzip is None:
            self._size += len(data)
            self._body.append(data)
        else:
            self._inflate(self._gzip, data)
        if self._size > self._max_body:
            self._refuse("too_large", f"the response's body is larger than {self._max_body} bytes")

    def on_message_complete(self) -> None:
        """End an interim response, or the exchange."""
        if self._status == 0:
            self._move("interim")
        elif self.outcome is None:
            assert self._parser is not None
            self._finish(keep_alive=self._parser.should_keep_alive())

    def _look_at_body_headers(self) -> None:
        headers = self._headers
        length = headers.get("content-length")
        if length is not None and int(length) > self._max_body:
            self._refuse("too_large", f"the response's body is larger than {self._max_body} bytes")
        # Where the response has no body at all, the parser ends the message before this matters.
        self._until_close = length is None and "chunked" not in headers.get("transfer-encoding", "").lower()
        encoding = headers.get("content-encoding", "identity").lower()
        if encoding in _GZIP:
            self._gzip = GzipBody()
        elif encoding != "identity":
            self._refuse("protocol", "the response has a content encoding that was not asked for")

    def _inflate(self, gzip: GzipBody, data: bytes) -> None:
        try:
            pieces = gzip.inflate(data, self._max_body - self._size)
        except zlib.error:
            self._refuse("protocol", "the response claims to be gzip and is not")
        if pieces is None:
            self._refuse("too_large", f"the response's body is larger than {self._max_body} bytes")
        self._size += sum(map(len, pieces))
        self._body.extend(pieces)

    def _finish(self, *, keep_alive: bool) -> None:
        if self._gzip is not None:
            if not self._gzip.complete:
                self.fail("protocol", "the response's gzip body is incomplete")
                return
            del self._headers["content-encoding"]
        body = self._body
        self.outcome = Reply(self._status, self._headers, body[0] if len(body) == 1 else b"".join(body))
        self._move("ended")
        # A server that answers before it has the whole request can't read another one after it.
        self.keep_alive = keep_alive and not self._unsent

    def _refuse(self, kind: BrokenKind, message: str) -> NoReturn:
        """Stop the parser; the exchange fails when it has come back."""
        self._refusal = (kind, message)
        raise _RefusedError

    def _note_parser_error(self, error: Exception) -> None:
        if self.outcome is not None:
            self.keep_alive = False
        elif self._refusal is not None:
            self.fail(*self._refusal)
        else:
            # The parser's own texts are fixed; they repeat nothing of what the server sent.
            self.fail("protocol", f"the server's answer is not valid HTTP: {error}")

    def _move(self, event: Event) -> None:
        self.state = _MOVES[self.state][event]


class _RefusedError(Exception):
    """Raised inside the parser's callbacks to stop it."""


def _pieces(head: bytes, body: tuple[bytes, ...]) -> list[bytes]:
    """Return head and body in reverse order, so that the next piece is cheap to take."""
    if not body:
        return [head]
    if sum(map(len, body)) <= _JOIN_BELOW:
        return [b"".join((head, *body))]
    pieces = [piece for piece in reversed(body) if piece]
    pieces.append(head)
    return pieces
