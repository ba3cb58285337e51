"""Reading responses of every legal form, with `httptools`.

It takes what is not a plain head with a counted body: chunks, gzip, interim responses, bodies that end with the
connection. The parser calls back while it is fed; what the calls amount to is told to the exchange.
"""

from __future__ import annotations

import zlib
from typing import Literal, NoReturn, Protocol

import httptools

from tinker_actors.net.inflating import InflatedBody, codings, inflatable
from tinker_actors.net.transport import Answer, BrokenKind, Reply

State = Literal["sending", "waiting", "headers", "body", "done", "overfed", "failed"]
Event = Literal["sent", "begun", "interim", "headed", "ended", "broke", "more"]

_SWITCHING_PROTOCOLS = 101
_FIRST_FINAL_STATUS = 200


class Reading(Protocol):
    """The exchange, as a reader of its response sees it."""

    state: State
    outcome: Answer | None

    def move(self, event: Event) -> None:
        """Note how far the response got."""
        ...

    def finish(self, reply: Reply, *, keep_alive: bool) -> None:
        """End well."""
        ...

    def fail(self, kind: BrokenKind, message: str) -> None:
        """End badly."""
        ...

    def overfeed(self) -> None:
        """Note that bytes came behind the response."""
        ...


class ResponseReader:
    """Reads one response, interim ones before it included. The `on_...` methods are called by the parser.

    Args:
        exchange: whose response it is.
        is_head: the request's method was `HEAD`: the response has no body whatever its headers say.
        max_head: limit for the headers, in bytes.
        max_body: limit for the body after decompression, in bytes.

    Attributes:
        until_close: whether the end of the connection ends the body.
    """

    __slots__ = (
        "_body",
        "_exchange",
        "_fed",
        "_head_bytes",
        "_headers",
        "_inflated",
        "_is_head",
        "_max_body",
        "_max_head",
        "_parser",
        "_refusal",
        "_status",
        "until_close",
    )

    def __init__(self, exchange: Reading, *, is_head: bool, max_head: int, max_body: int) -> None:
        self._exchange = exchange
        self._is_head = is_head
        self._max_head = max_head
        self._max_body = max_body
        self._headers: dict[str, str] = {}
        self._head_bytes = 0
        self._fed = 0
        self._status = 0
        self.until_close = False
        # One block, because a body may come in millions of pieces.
        self._body = bytearray()
        self._inflated: InflatedBody | None = None
        self._refusal: tuple[BrokenKind, str] | None = None
        # Refers back to this object; dropped by `end`, so that no cycle is left to the garbage collector.
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Take bytes read from the connection."""
        exchange = self._exchange
        assert self._parser is not None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._note_parser_error(error)
        if exchange.outcome is None and exchange.state != "body":
            # Counted here too, because the parser keeps an unfinished header to itself.
            self._fed += len(data)
            if self._fed > self._max_head:
                exchange.fail("too_large", "the response's headers are larger than allowed")

    def end(self) -> None:
        """Let go of the parser. The exchange has its outcome."""
        self._parser = None

    def finish(self, *, keep_alive: bool) -> None:
        """End the body here."""
        if self._inflated is not None:
            if not self._inflated.complete:
                self._exchange.fail("encoding", "the response's compressed body is incomplete")
                return
            del self._headers["content-encoding"]
        self._exchange.finish(Reply(self._status, self._headers, bytes(self._body)), keep_alive=keep_alive)

    def on_message_begin(self) -> None:
        """Note the first byte of a response."""
        if self._exchange.outcome is None:
            self._exchange.move("begun")
        else:
            self._exchange.overfeed()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header; what comes after the body (a trailer) is only counted."""
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > self._max_head:
            self._refuse("too_large", "the response's headers are larger than allowed")
        if self._exchange.state == "headers":
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1").rstrip(" \t")

    def on_headers_complete(self) -> None:
        """Decide from status and headers how the body ends."""
        if self._exchange.outcome is not None:
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
        self._exchange.move("headed")
        if self._is_head:
            self.finish(keep_alive=self._parser.should_keep_alive())
            return
        self._look_at_body_headers()

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        if self._exchange.outcome is not None:
            self._exchange.overfeed()
            return
        if self._inflated is None:
            self._body += data
        else:
            self._inflate(self._inflated, data)
        if len(self._body) > self._max_body:
            self._refuse("too_large", f"the response's body is larger than {self._max_body} bytes")

    def on_message_complete(self) -> None:
        """End an interim response, or the exchange."""
        if self._status == 0:
            self._exchange.move("interim")
        elif self._exchange.outcome is None:
            assert self._parser is not None
            self.finish(keep_alive=self._parser.should_keep_alive())

    def _look_at_body_headers(self) -> None:
        headers = self._headers
        length = headers.get("content-length")
        if length is not None and int(length) > self._max_body:
            self._refuse("too_large", f"the response's body is larger than {self._max_body} bytes")
        # Where the response has no body at all, the parser ends the message before this matters.
        self.until_close = length is None and "chunked" not in headers.get("transfer-encoding", "").lower()
        coded = codings(headers.get("content-encoding", ""))
        if len(coded) == 1 and inflatable(coded[0]):
            self._inflated = InflatedBody(coded[0])
        elif coded:
            self._refuse("encoding", "the response has a content encoding that was not asked for")

    def _inflate(self, inflated: InflatedBody, data: bytes) -> None:
        try:
            fits = inflated.inflate(data, self._body, self._max_body)
        except zlib.error:
            self._refuse("encoding", "the response claims to be compressed and is not")
        if not fits:
            self._refuse("too_large", f"the response's body is larger than {self._max_body} bytes")

    def _refuse(self, kind: BrokenKind, message: str) -> NoReturn:
        """Stop the parser; the exchange fails when it has come back."""
        self._refusal = (kind, message)
        raise _RefusedError

    def _note_parser_error(self, error: Exception) -> None:
        exchange = self._exchange
        if exchange.outcome is not None:
            exchange.overfeed()
        elif self._refusal is not None:
            exchange.fail(*self._refusal)
        else:
            # The parser's own texts are fixed; they repeat nothing of what the server sent.
            exchange.fail("protocol", f"the server's answer is not valid HTTP: {error}")


class CountedBody:
    """Collects the rest of a body whose length is known and whose head was read already.

    Args:
        exchange: whose response it is.
        begun: status and headers; its body is the part that came with them.
        missing: bytes of the body still to come.
    """

    __slots__ = ("_begun", "_body", "_exchange", "_missing", "until_close")

    def __init__(self, exchange: Reading, begun: Reply, missing: int) -> None:
        self._exchange = exchange
        self._begun = begun
        self._body = bytearray(begun.body)
        self._missing = missing
        self.until_close = False

    def feed(self, data: bytes) -> None:
        """Take bytes read from the connection; what comes after the body was not asked for."""
        self._body += data if len(data) <= self._missing else data[: self._missing]
        self._missing -= len(data)
        if self._missing <= 0:
            self.finish(keep_alive=True)
        if self._missing < 0:
            self._exchange.overfeed()

    def end(self) -> None:
        """Do nothing: there is no parser."""

    def finish(self, *, keep_alive: bool) -> None:
        """End the body here."""
        reply = Reply(self._begun.status, self._begun.headers, bytes(self._body))
        self._exchange.finish(reply, keep_alive=keep_alive)


class _RefusedError(Exception):
    """Raised inside the parser's callbacks to stop it."""
