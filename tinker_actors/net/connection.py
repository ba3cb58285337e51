"""One open connection: moves the bytes of one exchange at a time through a non-blocking socket.

Plain TCP and TLS take the same way. In TLS a write may have to wait for something to read and a read for room
to write, and decrypted data may lie in the TLS layer where no selector sees it; hence every event tries both
directions, and reading goes on until the socket says that there is nothing more.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from collections.abc import Callable
from typing import Protocol

from tinker_actors.net.exchange import Exchange
from tinker_actors.net.transport import BrokenKind
from tinker_actors.runtime.poller import make_glance
from tinker_actors.runtime.selector_inbox import READ, WRITE, SelectorInbox

_WOULD_BLOCK = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
# Reads or writes in a row before the lane's other sockets get their turn.
_STEPS_PER_EVENT = 32
# A TLS record that is not full is the last one of what its sender had to say, as a rule.
_FULL_RECORD = 16 * 1024
# How some servers and balancers announce that they close an idle connection (RFC 9110, section 15.5.9).
_GOODBYE = re.compile(rb"HTTP/1\.[01] 408 ")


class ConnectionOwner(Protocol):
    """The pool. Called in the lane's thread, from socket events and never from inside `Connection.begin`."""

    def on_finished(self, connection: Connection) -> None:
        """The connection's exchange has its outcome. The owner then calls `release` or `close`."""
        ...

    def on_gone(self, connection: Connection) -> None:
        """The connection was lost while it was idle, and is closed."""
        ...


class Connection:
    """A connected socket, watched for reading all its life. Used from the lane's thread only.

    Args:
        sock: connected and non-blocking; plain or TLS. The connection owns it.
        inbox: the lane's inbox.
        buffer: where reads go; shared by the connections of a lane, since its content is used up at once.
        owner: who is told about the end of exchanges.

    Raises:
        OSError: the socket can't be watched; it is closed then. So for ValueError.

    Attributes:
        exchange: the one under way, or None.
        served: the number of exchanges completed.
        noisy: whether bytes came that nobody asked for.
        idle_since: when the owner last had nothing for it to carry; 0 before.
        era: for the owner's use; -1 at first.
    """

    __slots__ = (
        "_buffer",
        "_events",
        "_full_read",
        "_glance",
        "_inbox",
        "_is_tls",
        "_owner",
        "_read_needs_write",
        "_released",
        "_sock",
        "_write_blocked",
        "_write_error",
        "era",
        "exchange",
        "idle_since",
        "noisy",
        "served",
    )

    def __init__(self, sock: socket.socket, inbox: SelectorInbox, buffer: memoryview, owner: ConnectionOwner) -> None:
        self._sock = sock
        self._inbox = inbox
        self._buffer = buffer
        self._owner = owner
        self._is_tls = isinstance(sock, ssl.SSLSocket)
        if isinstance(sock, ssl.SSLSocket):
            # An end that TLS did not announce is a cut, and no end of a body.
            sock.suppress_ragged_eofs = False  # type: ignore[attr-defined]  # unknown to typeshed
        self._full_read = _FULL_RECORD if self._is_tls else len(buffer)
        self._events = READ
        self._write_blocked = False
        self._read_needs_write = False
        self._write_error: OSError | None = None
        self.exchange: Exchange | None = None
        self._glance: Callable[[int], object] | None = None
        self._released = 0
        self.idle_since = 0.0
        self.era = -1
        self.served = 0
        self.noisy = False
        try:
            inbox.register(sock, READ, self)
        except (OSError, ValueError):
            sock.close()
            raise

    @property
    def kept(self) -> bool:
        """Whether it was open for a while or carried something, so that the server may be closing it."""
        return self.served > 0 or self.idle_since > 0

    def begin(self, exchange: Exchange) -> bool:
        """Start an exchange and write what the socket takes at once.

        Returns:
            False when this kept-alive connection turned out to be dead, or to have something to say, before it took
            a single byte: close it and use another, nothing has been sent. Any other failure arrives through the
            owner, later.
        """
        # Where no whole round of the inbox lies between, nobody has looked since the last answer came.
        if self.served and self._inbox.rounds - self._released < 2:  # noqa: PLR2004
            glance = self._glance
            if glance is None:
                glance = self._glance = make_glance(self._sock.fileno())
            if glance(0) and not self._has_nothing_to_say():
                return False
        self.exchange = exchange
        if self._flush(exchange):
            return True
        if self.kept and not exchange.sent:
            self.exchange = None
            return False
        self._inbox.post(self._settle_write_error)
        return True

    def release(self) -> bool:
        """Make the connection idle after its exchange. False when it can't carry another and must be closed."""
        exchange, self.exchange = self.exchange, None
        self.served += 1
        if exchange is None or not exchange.keep_alive or self._write_error is not None:
            self.noisy = exchange is not None and exchange.state == "overfed"
            return False
        if self._is_tls and self._pending():
            self.noisy = True  # bytes that lie decrypted in the TLS layer belong to nobody
            return False
        self._released = self._inbox.rounds
        return True

    def close(self) -> None:
        """Close the socket and forget the exchange. May be called twice."""
        self.exchange = None
        self._inbox.unregister(self._sock)
        with contextlib.suppress(OSError):  # its descriptor may be gone already
            self._sock.close()

    def on_ready(self, events: int) -> None:  # noqa: ARG002 - both directions are tried, see the module's text
        """Write and read what is possible. Called by the inbox."""
        exchange = self.exchange
        if exchange is None:
            if not self._has_nothing_to_say():
                self._lose()
            return
        if (exchange.unsent is not None or self._events != READ) and not self._flush(exchange):
            self._settle_write_error()
            return
        self._drain(exchange)

    def on_lost(self, error: BaseException) -> None:
        """Fail the exchange, as the inbox can't watch the socket any more. Called by the inbox."""
        exchange = self.exchange
        if exchange is None:
            self._lose()
        else:
            exchange.fail("reset", f"the connection can't be watched any more: {_text(error)}")
            exchange.keep_alive = False
            self._owner.on_finished(self)

    def _flush(self, exchange: Exchange) -> bool:
        """Write until the socket takes no more or the request is out, and watch for room if it is not.

        Returns:
            Whether the connection is still good for writing.
        """
        blocked = False
        for _ in range(_STEPS_PER_EVENT):
            if exchange.unsent is None or self._write_error is not None:
                break
            try:
                if exchange.write(self._sock.send):
                    break
            except ssl.SSLWantReadError:
                exchange.sent = True
                break
            except _WOULD_BLOCK:
                # A part of a TLS record may be out.
                exchange.sent = exchange.sent or self._is_tls
                blocked = True
                break
            except OSError as error:
                self._write_error = error
        else:
            blocked = exchange.unsent is not None
        if blocked or self._events != READ:
            self._write_blocked = blocked
            self._watch()
        return self._write_error is None

    def _drain(self, exchange: Exchange) -> None:
        """Read until the exchange ends or there is nothing more for now."""
        if self._read_needs_write:
            self._read_needs_write = False
            self._watch()
        buffer = self._buffer
        for _ in range(_STEPS_PER_EVENT):
            try:
                count = self._sock.recv_into(buffer)
            except ssl.SSLWantWriteError:
                self._read_needs_write = True
                self._watch()
                return
            except _WOULD_BLOCK:
                return
            except OSError as error:
                self._break(exchange, error)
                return
            if count:
                exchange.feed(bytes(buffer[:count]))
            else:
                exchange.eof()
            if exchange.outcome is not None:
                self._owner.on_finished(self)
                return
            if count < self._full_read and not self._pending():
                return
        # Others first. The poller tells of what lies in the socket, and nobody of what lies in the TLS layer.
        if self._pending():
            self._inbox.post(self._go_on)

    def _pending(self) -> int:
        """Return the number of decrypted bytes that lie in the TLS layer, where no poller sees them."""
        return self._sock.pending() if isinstance(self._sock, ssl.SSLSocket) else 0

    def _go_on(self) -> None:
        """Continue with what lies in the TLS layer, after the others had their turn."""
        if self.exchange is not None:
            self._drain(self.exchange)

    def _has_nothing_to_say(self) -> bool:
        """Find out why an idle connection is readable: a TLS message of no importance, its end, or unrequested bytes.

        Returns:
            Whether the connection can be used.
        """
        try:
            count = self._sock.recv_into(self._buffer)
        except _WOULD_BLOCK:
            return True
        except OSError:
            return False  # nobody is waiting; it is lost in either way
        self.noisy = count > 0 and _GOODBYE.match(self._buffer[:count]) is None
        return False

    def _lose(self) -> None:
        self.close()
        self._owner.on_gone(self)

    def _settle_write_error(self) -> None:
        """After a failed write: a server that refuses a request may have said why before it hung up."""
        exchange, error = self.exchange, self._write_error
        if exchange is None or error is None or exchange.outcome is not None:
            return
        while exchange.outcome is None:
            try:
                count = self._sock.recv_into(self._buffer)
            except OSError:
                break
            if not count:
                break
            exchange.feed(bytes(self._buffer[:count]))
        if exchange.outcome is None:
            self._break(exchange, error)
        else:
            self._owner.on_finished(self)

    def _break(self, exchange: Exchange, error: OSError) -> None:
        kind: BrokenKind = "reset"
        if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            kind = "closed"
        elif isinstance(error, ssl.SSLError):
            kind = "tls"
        elif isinstance(error, TimeoutError):
            kind = "timeout"
        elif self.kept and exchange.state in ("sending", "waiting"):
            # The server closed a kept-alive connection while our request was on its way: an orderly end that
            # shows as a reset because the request met a closed socket.
            kind = "closed"
        exchange.fail(kind, f"the connection failed: {_text(error)}")
        self._owner.on_finished(self)

    def _watch(self) -> None:
        """Tell the inbox what to wait for: always for something to read, sometimes for room to write too."""
        events = READ | WRITE if self._write_blocked or self._read_needs_write else READ
        if events != self._events:
            self._events = events
            self._inbox.modify(self._sock, events)


def _text(error: BaseException) -> str:
    if isinstance(error, ssl.SSLEOFError):
        return "the server cut it without ending it in TLS"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
