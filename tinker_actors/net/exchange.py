"""One HTTP request and its response, as a state machine without sockets.

Bytes to write come out, bytes read go in, and at the end there is an answer: a `Reply`, or a `Broken` that says
how far things got, because that decides whether the request may be sent again. The connection moves the bytes. A
plain answer that is all there is read at once; a reader takes everything else.
"""

from __future__ import annotations

from collections.abc import Callable

from tinker_actors.net.plain_head import END, plain_head
from tinker_actors.net.response_reader import CountedBody, Event, ResponseReader, State
from tinker_actors.net.transport import Answer, Broken, BrokenKind, Phase, Reply

# "sending" and "waiting" end with the first byte of a response, which may come before the request is out.
# An interim response (1xx) leads back to waiting for the real one. "ended" while waiting: all of it came at once.
# "more" is what comes behind a response: nobody asked for it.
_MOVES: dict[State, dict[Event, State]] = {
    "sending": {"sent": "waiting", "begun": "headers", "broke": "failed"},
    "waiting": {"sent": "waiting", "begun": "headers", "ended": "done", "broke": "failed"},
    "headers": {"sent": "headers", "interim": "waiting", "headed": "body", "broke": "failed"},
    "body": {"sent": "body", "ended": "done", "broke": "failed"},
    "done": {"more": "overfed"},
    "overfed": {"more": "overfed"},
    "failed": {"more": "failed"},
}

# The port's phases: "wait" means that no byte of the response came, "body" that it had begun.
_PHASES: dict[State, Phase] = {"sending": "send", "waiting": "wait", "headers": "body", "body": "body"}

_CLOSED: dict[State, str] = {
    "sending": "the server closed the connection while the request was being sent",
    "waiting": "the server closed the connection before it answered",
    "headers": "the server closed the connection in the middle of the response's headers",
    "body": "the server closed the connection in the middle of the response's body",
}

# Most bytes offered to one write; a TLS write has to be repeated with the same bytes when it would block.
_LARGEST_WRITE = 256 * 1024


class Exchange:
    """A request being sent and its response being read. Used once, from one thread.

    Args:
        method: the request's method; a response to `HEAD` has no body whatever its headers say.
        head: request line and headers, complete; the beginning of the body may follow in it.
        body: the request's body, or the rest of it, in pieces.
        max_header_bytes: limit for the headers of the response (interim responses included).
        max_body_bytes: limit for its body, after decompression.

    Attributes:
        state: where the exchange is; see the table above.
        outcome: the answer, or None while there is none.
        keep_alive: once done, whether the connection can carry another request.
        sent: whether any byte of the request may have reached the server.
        unsent: the piece that is being sent; None when all of the request is out.
    """

    __slots__ = (
        "_is_head",
        "_later",
        "_max_body",
        "_max_head",
        "_offset",
        "_reader",
        "keep_alive",
        "outcome",
        "sent",
        "state",
        "unsent",
    )

    def __init__(
        self,
        method: str,
        head: bytes,
        body: tuple[bytes, ...] = (),
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
        self._reader: ResponseReader | CountedBody | None = None
        # The piece that is being sent, how much of it is out, and the pieces after it, the last one first.
        self.unsent: bytes | None = head
        self._offset = 0
        self._later = [piece for piece in reversed(body) if piece] if body else None

    def next_bytes(self) -> bytes | memoryview | None:
        """Return what to write now, the same until `wrote` is called; None when all is written."""
        piece = self.unsent
        if piece is None or (self._offset == 0 and len(piece) <= _LARGEST_WRITE):
            return piece
        return memoryview(piece)[self._offset : self._offset + _LARGEST_WRITE]

    def write(self, send: Callable[[bytes | memoryview], int]) -> bool:
        """Have `send` take what is to be written now; return whether all is written. What it raises goes through."""
        # Without a name for what is sent: there are credentials in it, which a crash report with locals would show.
        if self._offset or self._later or self.unsent is None or len(self.unsent) > _LARGEST_WRITE:
            return self.wrote(send(self.next_bytes() or b""))
        count = send(self.unsent)
        if count < len(self.unsent):
            return self.wrote(count)
        self.sent = True
        self.unsent = None
        self.state = _MOVES[self.state]["sent"]
        return True

    def wrote(self, count: int) -> bool:
        """Note that the first `count` bytes of `next_bytes` were accepted; return whether all is written."""
        self.sent = True
        assert self.unsent is not None
        self._offset += count
        if self._offset < len(self.unsent):
            return False
        self._offset = 0
        if self._later:
            self.unsent = self._later.pop()
            return False
        self.unsent = None
        self.state = _MOVES[self.state]["sent"]
        return True

    def feed(self, data: bytes) -> None:
        """Take bytes read from the connection. Afterwards look at `outcome`."""
        reader = self._reader
        if reader is None:
            if self.outcome is not None:
                self.overfeed()
                return
            if self.state == "waiting" and not self._is_head and self._take(data):
                return
            reader = self._reader = ResponseReader(
                self, is_head=self._is_head, max_head=self._max_head, max_body=self._max_body
            )
        reader.feed(data)
        if self.outcome is not None:
            self._drop_reader()

    def eof(self) -> None:
        """Note that the server closed its side. Ends a body that is delimited by that, breaks all else."""
        reader = self._reader
        if self.outcome is not None:
            self.keep_alive = False
        elif self.state == "body" and reader is not None and reader.until_close:
            reader.finish(keep_alive=False)
        else:
            self.fail("closed", _CLOSED[self.state])
        self._drop_reader()

    def fail(self, kind: BrokenKind, message: str) -> None:
        """End the exchange without a response, unless it has ended already."""
        if self.outcome is not None:
            return
        self.outcome = Broken(kind, _PHASES[self.state], message, self.sent)
        self.move("broke")
        self.keep_alive = False
        self._drop_reader()

    def finish(self, reply: Reply, *, keep_alive: bool) -> None:
        """End the exchange with a response. Called by what reads it."""
        self.outcome = reply
        self.move("ended")
        # A server that answers before it has the whole request can't read another one after it.
        self.keep_alive = keep_alive and self.unsent is None

    def overfeed(self) -> None:
        """Note that bytes came behind the response. Called by what reads it."""
        self.keep_alive = False
        self.move("more")

    def move(self, event: Event) -> None:
        """Go on to the state that follows. Called by what reads the response."""
        self.state = _MOVES[self.state][event]

    def _take(self, data: bytes) -> bool:
        """Take the first bytes of a response if they are a plain head and no more than its body."""
        end = data.find(END, 0, self._max_head) + len(END)
        head = plain_head(data[:end]) if end >= len(END) else None
        if head is None:
            return False
        status, headers, length = head
        missing = length - (len(data) - end)
        if missing < 0 or length > self._max_body:
            return False
        reply = Reply(status, headers.copy(), data[end:])
        if missing:
            self.move("begun")
            self.move("headed")
            self._reader = CountedBody(self, reply, missing)
        else:
            self.outcome = reply
            self.state = _MOVES["waiting"]["ended"]
            self.keep_alive = True
        return True

    def _drop_reader(self) -> None:
        if self._reader is not None:
            self._reader.end()
            self._reader = None
