"""The transport port over sockets: a pool of keep-alive connections to one server.

Lives on a lane's thread: requests are written when they are handed over, answers arrive as socket events of the
lane's inbox, and no thread waits for anything. One connection carries one exchange at a time. The most recently
used idle connection is taken first, so that those a burst left over grow old and are closed.
"""

from __future__ import annotations

import functools
import logging
import socket
from collections import OrderedDict
from collections.abc import Callable, Iterable

import msgspec

from tinker_actors.runtime.clock import Clock
from tinker_actors.runtime.connection import Connection
from tinker_actors.runtime.connector import (
    Connector,
    Opening,
    Target,
    proxy_authorization,
    shared_connector,
)
from tinker_actors.runtime.exchange import Exchange
from tinker_actors.runtime.request_head import RequestHead, authority
from tinker_actors.runtime.selector_inbox import SelectorInbox
from tinker_actors.runtime.timers import Timer
from tinker_actors.runtime.transport import Answer, Broken, Request

logger = logging.getLogger(__name__)

# Large enough for a response of some megabytes in a few dozen reads; one per transport, not per connection.
_READ_BUFFER = 256 * 1024


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of an `HttpTransport`.

    Attributes:
        max_connections: connections open or being opened at once; further requests wait in order.
        idle_seconds: how long an unused connection is kept.
        max_header_bytes: largest headers of a response.
        max_body_bytes: largest body of a response, decompressed.
    """

    max_connections: int = 1000
    idle_seconds: float = 60.0
    max_header_bytes: int = 64 * 1024
    max_body_bytes: int = 256 * 1024 * 1024


class HttpTransport:
    """Implements the `Transport` port with HTTP/1.1. Used from the inbox's thread only.

    A request on a kept-alive connection may meet its close. When the connection turns out dead before it took
    a byte, another is used. When the bytes were on their way, the answer is `Broken(kind="closed",
    phase="wait", sent=True)`, and whether to send again is the caller's decision.

    Args:
        inbox: the lane's inbox, which watches the sockets.
        clock: the clock of the inbox's timers.
        target: the server.
        base_path: path of the base URL, without a trailing slash; precedes every request's path.
        headers: sent with every request.
        limits: bounds.
        connector: what opens connections; by default the process's.

    Raises:
        ValueError: a default header holds a character HTTP forbids. The value is not shown.
    """

    def __init__(
        self,
        inbox: SelectorInbox,
        clock: Clock,
        target: Target,
        base_path: str = "",
        *,
        headers: Iterable[tuple[str, str]] = (),
        limits: Limits | None = None,
        connector: Connector | None = None,
    ) -> None:
        self._inbox = inbox
        self._clock = clock
        self._target = target
        self._limits = limits or Limits()
        self._connector = connector or shared_connector()
        self._head = _request_head(target, base_path, headers)
        self._buffer = memoryview(bytearray(_READ_BUFFER))
        # Dictionaries as ordered sets; the idle ones in the order in which they became idle.
        self._idle: dict[Connection, None] = {}
        self._busy: dict[Connection, _Call] = {}
        self._openings: dict[Opening, None] = {}
        self._waiting: OrderedDict[_Call, None] = OrderedDict()
        self._idle_timer: Timer | None = None
        self._closed = False

    @property
    def idle(self) -> int:
        """Connections without a request."""
        return len(self._idle)

    @property
    def busy(self) -> int:
        """Connections with a request under way."""
        return len(self._busy)

    @property
    def open(self) -> int:
        """Open connections."""
        return len(self._idle) + len(self._busy)

    @property
    def opening(self) -> int:
        """Connections that are being opened."""
        return len(self._openings)

    @property
    def waiting(self) -> int:
        """Requests that wait for a connection."""
        return len(self._waiting)

    def __repr__(self) -> str:
        return (
            f"<HttpTransport {self._target.url} open={self.open} idle={self.idle} busy={self.busy} "
            f"opening={self.opening} waiting={self.waiting}{' closed' if self._closed else ''}>"
        )

    def send(self, request: Request, on_answer: Callable[[Answer], None]) -> _Call:
        """Start one attempt; see the port.

        Raises:
            ValueError: a header holds a character HTTP forbids, or the path is not percent-encoded.
        """
        limits = self._limits
        exchange = Exchange(
            request.method,
            self._head.render(request),
            request.body,
            max_header_bytes=limits.max_header_bytes,
            max_body_bytes=limits.max_body_bytes,
        )
        call = _Call(self, exchange, on_answer, request.timeout)
        if self._closed:
            closed = Broken("closed", "connect", "the transport was closed before the request was sent", False)
            self._inbox.post(functools.partial(call.settle, closed))
            return call
        call.timer = self._inbox.timers.call_at(self._clock.now() + request.timeout, call.expire)
        if not self._start_on_idle(call):
            self._waiting[call] = None
            self._open_more()
        return call

    def close(self) -> None:
        """Close every connection; requests under way are dropped without an answer."""
        self._closed = True
        for call in (*self._busy.values(), *self._waiting):
            call.drop()
        for connection in (*self._busy, *self._idle):
            connection.close()
        for opening in self._openings:
            self._connector.abandon(opening)
        for part in (self._busy, self._waiting, self._idle, self._openings):
            part.clear()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    def on_finished(self, connection: Connection) -> None:
        """Reuse or close a connection whose exchange ended, and deliver the answer. Called by the connection."""
        call = self._busy.pop(connection)
        call.connection = None
        if connection.release():
            # Before the answer is delivered, so that a request sent from there finds the connection.
            self._employ(connection)
        else:
            connection.close()
        self._balance()
        assert call.exchange.outcome is not None
        call.settle(call.exchange.outcome)

    def on_gone(self, connection: Connection) -> None:
        """Forget an idle connection that was lost. Called by the connection."""
        self._idle.pop(connection, None)

    def _start_on_idle(self, call: _Call) -> bool:
        while self._idle:
            connection, _ = self._idle.popitem()
            if self._start(call, connection):
                return True
        return False

    def _start(self, call: _Call, connection: Connection) -> bool:
        if connection.begin(call.exchange):
            self._busy[connection] = call
            call.connection = connection
            return True
        connection.close()
        return False

    def _employ(self, connection: Connection) -> None:
        """Give a free connection to the request that waits longest, or keep it for the next."""
        if self._waiting:
            call, _ = self._waiting.popitem(last=False)
            if not self._start(call, connection):
                self._waiting[call] = None
                self._waiting.move_to_end(call, last=False)
            return
        now = self._clock.now()
        connection.idle_since = now
        self._idle[connection] = None
        if self._idle_timer is None:
            due = now + self._limits.idle_seconds
            self._idle_timer = self._inbox.timers.call_at(due, self._close_old)

    def _close_old(self) -> None:
        """Close connections that were idle for too long; the oldest come first."""
        self._idle_timer = None
        now = self._clock.now()
        for connection in tuple(self._idle):
            due = connection.idle_since + self._limits.idle_seconds
            if due > now:
                self._idle_timer = self._inbox.timers.call_at(due, self._close_old)
                return
            del self._idle[connection]
            connection.close()

    def _balance(self) -> None:
        """After a change: as many connections being opened as requests wait, within the limit."""
        if self._waiting:
            self._open_more()
        elif self._openings:
            self._withdraw_surplus()

    def _open_more(self) -> None:
        most = self._limits.max_connections
        while len(self._openings) < len(self._waiting) and self.open + len(self._openings) < most:
            opening = self._connector.open(self._target, self._on_opened)
            self._openings[opening] = None

    def _withdraw_surplus(self) -> None:
        """Take back openings nobody waits for, so that a server that is not there does not hold the threads."""
        while len(self._openings) > len(self._waiting):
            newest, _ = self._openings.popitem()
            if not self._connector.withdraw(newest):
                # It is under way, and so are the ones before it.
                self._openings[newest] = None
                return

    def _on_opened(self, opening: Opening) -> None:
        """Pass the news from the connector's thread to the lane's."""
        self._inbox.post(functools.partial(self._take, opening))

    def _take(self, opening: Opening) -> None:
        if self._openings.pop(opening, self) is self:
            self._connector.abandon(opening)
            return
        outcome = self._connector.take(opening)
        if isinstance(outcome, socket.socket):
            outcome = self._add(outcome)
        if isinstance(outcome, Broken) and self._waiting:
            call, _ = self._waiting.popitem(last=False)
            call.settle(outcome)
        self._balance()

    def _add(self, sock: socket.socket) -> Broken | None:
        try:
            connection = Connection(sock, self._inbox, self._buffer, self)
        except (OSError, ValueError) as error:
            return Broken("connect", "connect", f"a new connection can't be used: {error}", False)
        self._employ(connection)
        return None

    def _expire(self, call: _Call) -> None:
        """Answer a request whose time is up."""
        answer: Answer | None = None
        if call.connection is not None:
            call.exchange.fail("timeout", f"no complete answer came within {call.timeout:g} s")
            answer = call.exchange.outcome
        self._leave(call)
        call.settle(answer or Broken("timeout", "connect", f"no connection was free within {call.timeout:g} s", False))

    def _leave(self, call: _Call) -> None:
        """Take a request out of the pool; a connection it is on is of no use any more."""
        connection, call.connection = call.connection, None
        if connection is None:
            self._waiting.pop(call, None)
        else:
            del self._busy[connection]
            connection.close()
        self._balance()


class _Call:
    """A request on its way through the pool; the port's `Ticket`."""

    __slots__ = ("_on_answer", "_transport", "connection", "exchange", "timeout", "timer")

    def __init__(
        self, transport: HttpTransport, exchange: Exchange, on_answer: Callable[[Answer], None], timeout: float
    ) -> None:
        self._transport = transport
        self._on_answer: Callable[[Answer], None] | None = on_answer
        self.exchange = exchange
        self.timeout = timeout
        self.timer: Timer | None = None
        self.connection: Connection | None = None

    def cancel(self) -> None:
        """Give up the request; a connection it is on is closed."""
        if self._on_answer is not None:
            self.drop()
            self._transport._leave(self)

    def expire(self) -> None:
        """Fail the request for lack of time. Called by its timer."""
        if self._on_answer is not None:
            self._transport._expire(self)

    def settle(self, answer: Answer) -> None:
        """Deliver the answer, unless it was delivered or the request given up."""
        on_answer = self._on_answer
        if on_answer is None:
            return
        self.drop()
        try:
            on_answer(answer)
        except BaseException:
            logger.exception("The receiver of an answer failed")

    def drop(self) -> None:
        """Forget the receiver and the timer."""
        self._on_answer = None
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


def _request_head(target: Target, base_path: str, headers: Iterable[tuple[str, str]]) -> RequestHead:
    host = authority(target.scheme, target.host, target.port)
    if target.proxy is None or target.scheme != "http":
        return RequestHead(host, base_path, headers)
    # A proxy for plain requests is told the whole URL with each of them.
    return RequestHead(host, target.url + base_path, (*headers, *proxy_authorization(target.proxy)))
