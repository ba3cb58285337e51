"""The transport port over sockets: a pool of keep-alive connections to one server.

Lives on a lane's thread: requests are written when they are handed over, answers arrive as socket events of the
lane's inbox, and no thread waits for anything. One connection carries one exchange at a time. The most recently
used idle connection is taken first, so that those a burst left over grow old and are closed.
"""

from __future__ import annotations

import functools
import socket
from collections import OrderedDict
from collections.abc import Callable, Iterable

from tinker_actors.runtime.call import Call, Limits
from tinker_actors.runtime.clock import Clock
from tinker_actors.runtime.connection import Connection
from tinker_actors.runtime.connection_limit import ConnectionLimit
from tinker_actors.runtime.connector import (
    Connector,
    Opening,
    Target,
    proxy_authorization,
    shared_connector,
)
from tinker_actors.runtime.deadlines import Deadlines
from tinker_actors.runtime.request_head import RequestHead, authority
from tinker_actors.runtime.selector_inbox import SelectorInbox
from tinker_actors.runtime.timers import Timer
from tinker_actors.runtime.transport import Answer, Broken, NoFiles, Request

__all__ = ["HttpTransport", "Limits"]

# Large enough for a response of some megabytes in a few dozen reads; one per transport, not per connection.
_READ_BUFFER = 256 * 1024


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
        self._now = clock.now
        self._target = target
        self._limits = limits or Limits()
        self._connector = connector or shared_connector()
        self._head = _request_head(target, base_path, headers)
        self._buffer = memoryview(bytearray(_READ_BUFFER))
        self._deadlines = Deadlines(inbox.timers, clock.now)
        self._limit = ConnectionLimit(
            self._limits.max_connections, target.url, inbox.timers, clock.now, self._count_waiting, self._balance
        )
        # Dictionaries as ordered sets; the idle ones in the order in which they became idle.
        self._connections: dict[Connection, None] = {}
        self._idle: dict[Connection, None] = {}
        self._openings: dict[Opening, None] = {}
        self._waiting: OrderedDict[Call, None] = OrderedDict()
        self._idle_timer: Timer | None = None
        self._closed = False

    @property
    def idle(self) -> int:
        """Connections without a request."""
        return len(self._idle)

    @property
    def busy(self) -> int:
        """Connections with a request under way."""
        return len(self._connections) - len(self._idle)

    @property
    def open(self) -> int:
        """Open connections."""
        return len(self._connections)

    @property
    def opening(self) -> int:
        """Connections that are being opened."""
        return len(self._openings)

    @property
    def capacity(self) -> int:
        """Connections that can be counted on: the limit, or less while the process has no more files."""
        return self._limit.capacity()

    @property
    def waiting(self) -> int:
        """Requests that wait for a connection."""
        return len(self._waiting)

    def __repr__(self) -> str:
        return (
            f"<HttpTransport {self._target.url} open={self.open} idle={self.idle} busy={self.busy} "
            f"opening={self.opening} waiting={self.waiting}{' closed' if self._closed else ''}>"
        )

    def send(self, request: Request, on_answer: Callable[[Answer], None]) -> Call:
        """Start one attempt; see the port.

        Raises:
            ValueError: a header holds a character HTTP forbids, or the path is not percent-encoded.
        """
        call = Call(self, request, self._head.render(request), on_answer, self._limits)
        if self._closed:
            closed = Broken("closed", "connect", "the transport was closed before the request was sent", False)
            self._inbox.post(functools.partial(call.settle, closed))
            return call
        self._deadlines.add(call, request.timeout)
        while self._idle:
            connection, _ = self._idle.popitem()
            if self._start(call, connection):
                return call
        self._waiting[call] = None
        self._open_more()
        return call

    def close(self) -> None:
        """Close every connection; requests under way are dropped without an answer."""
        self._closed = True
        for call in self._waiting:
            call.drop()
        for connection in self._connections:
            if isinstance(connection.exchange, Call):
                connection.exchange.drop()
            connection.close()
        for opening in self._openings:
            self._connector.abandon(opening)
            self._limit.arrived()
        for part in (self._connections, self._waiting, self._idle, self._openings):
            part.clear()
        self._deadlines.clear()
        self._limit.close()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    # ------------------------------------------------------------ for connections

    def on_finished(self, connection: Connection) -> None:
        """Reuse or close a connection whose exchange ended, and deliver the answer. Called by the connection."""
        call = connection.exchange
        assert isinstance(call, Call)
        call.connection = None
        if connection.release():
            # Before the answer is delivered, so that a request sent from there finds the connection.
            self._employ(connection)
        else:
            self._discard(connection)
        if self._waiting or self._openings:
            self._balance()
        assert call.outcome is not None
        call.settle(call.outcome)

    def on_gone(self, connection: Connection) -> None:
        """Forget an idle connection that was lost. Called by the connection."""
        self._idle.pop(connection, None)
        self._connections.pop(connection, None)

    # ------------------------------------------------------------ for calls

    def expired(self, call: Call) -> None:
        """Answer a request whose time is up. Called by the request."""
        answer: Answer | None = None
        if call.connection is not None:
            call.fail("timeout", f"no complete answer came within {call.timeout:g} s")
            answer = call.outcome
        self.leave(call)
        call.settle(answer or Broken("timeout", "connect", f"no connection was free within {call.timeout:g} s", False))

    def leave(self, call: Call) -> None:
        """Take a request out of the pool; a connection it is on is of no use any more. Called by the request."""
        connection, call.connection = call.connection, None
        if connection is None:
            self._waiting.pop(call, None)
        else:
            self._discard(connection)
        self._balance()

    # ------------------------------------------------------------ the pool

    def _start(self, call: Call, connection: Connection) -> bool:
        if connection.begin(call):
            call.connection = connection
            return True
        self._discard(connection)
        return False

    def _employ(self, connection: Connection) -> None:
        """Give a free connection to the request that waits longest, or keep it for the next."""
        if self._waiting:
            call, _ = self._waiting.popitem(last=False)
            if not self._start(call, connection):
                self._waiting[call] = None
                self._waiting.move_to_end(call, last=False)
            return
        connection.idle_since = now = self._now()
        self._idle[connection] = None
        if self._idle_timer is None:
            due = now + self._limits.idle_seconds
            self._idle_timer = self._inbox.timers.call_at(due, self._close_old)

    def _close_old(self) -> None:
        """Close connections that were idle for too long; the oldest come first."""
        self._idle_timer = None
        now = self._now()
        for connection in tuple(self._idle):
            due = connection.idle_since + self._limits.idle_seconds
            if due > now:
                self._idle_timer = self._inbox.timers.call_at(due, self._close_old)
                return
            del self._idle[connection]
            self._discard(connection)

    def _discard(self, connection: Connection) -> None:
        self._connections.pop(connection, None)
        connection.close()

    def _balance(self) -> None:
        """After a change: as many connections being opened as requests wait, within the limit."""
        if self._waiting:
            self._open_more()
        elif self._openings:
            self._withdraw_surplus()

    def _open_more(self) -> None:
        while len(self._openings) < len(self._waiting) and self._limit.allows(self.open + len(self._openings)):
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
            self._limit.arrived()

    def _on_opened(self, opening: Opening) -> None:
        """Pass the news from the connector's thread to the lane's."""
        self._inbox.post(functools.partial(self._take, opening))

    def _take(self, opening: Opening) -> None:
        if self._openings.pop(opening, self) is self:
            self._connector.abandon(opening)
            return
        self._limit.arrived()
        outcome = self._connector.take(opening)
        if isinstance(outcome, socket.socket):
            outcome = self._add(outcome)
        if isinstance(outcome, NoFiles) and (held := self.open + len(self._openings)):
            # Those who wait get a connection that others leave.
            self._limit.refused(held)
        elif isinstance(outcome, Broken) and self._waiting:
            call, _ = self._waiting.popitem(last=False)
            call.settle(outcome)
        self._balance()

    def _add(self, sock: socket.socket) -> Broken | None:
        try:
            connection = Connection(sock, self._inbox, self._buffer, self)
        except (OSError, ValueError) as error:
            return Broken("connect", "connect", f"a new connection can't be used: {error}", False)
        self._connections[connection] = None
        self._employ(connection)
        return None

    def _count_waiting(self) -> int:
        return len(self._waiting)


def _request_head(target: Target, base_path: str, headers: Iterable[tuple[str, str]]) -> RequestHead:
    host = authority(target.scheme, target.host, target.port)
    if target.proxy is None or target.scheme != "http":
        return RequestHead(host, base_path, headers)
    # A proxy for plain requests is told the whole URL with each of them.
    return RequestHead(host, target.url + base_path, (*headers, *proxy_authorization(target.proxy)))
