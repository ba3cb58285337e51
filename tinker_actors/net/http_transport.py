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

from msgspec import structs

from tinker_actors.net.call import Call, Limits
from tinker_actors.net.connection import Connection
from tinker_actors.net.connection_limit import ConnectionLimit
from tinker_actors.net.connector import Connector, shared_connector
from tinker_actors.net.deadlines import Deadlines
from tinker_actors.net.openings import Openings
from tinker_actors.net.redirects import path_to_follow
from tinker_actors.net.request_head import RequestHead, authority
from tinker_actors.net.reuse import Reuse
from tinker_actors.net.target import Target, proxy_authorization
from tinker_actors.net.transport import Answer, Broken, NoFiles, Reply, Request
from tinker_actors.runtime.clock import Clock
from tinker_actors.runtime.selector_inbox import SelectorInbox
from tinker_actors.runtime.timers import Timer

__all__ = ["HttpTransport", "Limits"]

logger = logging.getLogger("tinker_actors")

# Large enough for a response of some megabytes in a few dozen reads; one per transport, not per connection.
_READ_BUFFER = 256 * 1024
_FIRST_REDIRECT = 300
# How the end of a kept connection shows to a request on its way, see `Connection`.
_CLOSES = ("closed", "reset")

_NOISE = (
    "%s sent an answer that nobody asked for. So that no request gets another's, each has a connection of its own from "
    "now on."
)


class HttpTransport:
    """Implements the `Transport` port with HTTP/1.1. Used from the inbox's thread only.

    A request on a kept-alive connection may meet its close. When the connection turns out dead before it took
    a byte, another is used. When the bytes were on their way and none of an answer came, it goes out again at once
    on a fresh connection, once; where most meet one, connections are not reused for a while (`reuse` has the rule).
    What must not be sent twice has a fresh connection from the beginning.

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
        self._base_path = base_path
        self._head = _request_head(target, base_path, headers)
        self._head_at_root = _request_head(target, "", headers)  # redirects name the whole path
        self._reuse = Reuse()
        self._buffer = memoryview(bytearray(_READ_BUFFER))
        self._deadlines = Deadlines(inbox.timers, clock.now)
        self._limit = ConnectionLimit(
            self._limits.max_connections, target.url, inbox.timers, clock.now, lambda: self.waiting, self._balance
        )
        self._openings = Openings(target, connector or shared_connector(), inbox, self._limit, self._take)
        # Dictionaries as ordered sets; the idle ones in the order in which they became idle.
        self._connections: dict[Connection, None] = {}
        self._idle: dict[Connection, None] = {}
        # Those who wait for any connection, and those who need one that has carried nothing yet.
        self._waiting: OrderedDict[Call, None] = OrderedDict()
        self._waiting_fresh: OrderedDict[Call, None] = OrderedDict()
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
        return len(self._waiting) + len(self._waiting_fresh)

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
        # What nearly all meet, an idle connection that is alive, without a call more.
        if self._idle and not call.fresh:
            connection = self._idle.popitem()[0]
            if connection.begin(call):
                call.connection = connection
                return call
            self._discard(connection)
        self._place(call)
        return call

    def close(self) -> None:
        """Close every connection; requests under way are dropped without an answer."""
        self._closed = True
        for call in (*self._waiting, *self._waiting_fresh):
            call.drop()
        for connection in self._connections:
            if isinstance(connection.exchange, Call):
                connection.exchange.drop()
            connection.close()
        for part in (self._connections, self._waiting, self._waiting_fresh, self._idle):
            part.clear()
        self._openings.close()
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
        outcome = call.outcome
        assert outcome is not None
        reuse = self._reuse
        if connection.release() and reuse.allowed:
            if connection.era == reuse.era:
                reuse.held += 1
            else:
                connection.era = reuse.era
            # Before the answer is delivered, so that a request sent from there finds the connection.
            self._employ(connection)
        else:
            self._discard(connection)
            if isinstance(outcome, Broken) and self._met_its_close(connection, outcome):
                self._send_again(call)
                return
        if self._waiting or self._waiting_fresh or self._openings.under_way:
            self._balance()
        if type(outcome) is Reply and outcome.status >= _FIRST_REDIRECT and self._follow(call, outcome):
            return
        call.settle(outcome)

    def on_gone(self, connection: Connection) -> None:
        """Forget an idle connection that was lost. Called by the connection."""
        self._idle.pop(connection, None)
        self._forget(connection)

    # ------------------------------------------------------------ for calls

    def expired(self, call: Call) -> None:
        """Answer a request whose time is up. Called by the request."""
        answer: Answer | None = None
        timeout = call.request.timeout
        if call.connection is not None:
            call.fail("timeout", f"no complete answer came within {timeout:g} s")
            answer = call.outcome
        self.leave(call)
        message = f"no connection was free within {timeout:g} s"
        call.settle(answer or Broken("timeout", "connect", message, call.was_sent))

    def leave(self, call: Call) -> None:
        """Take a request out of the pool; a connection it is on is of no use any more. Called by the request."""
        connection, call.connection = call.connection, None
        if connection is None:
            self._waiting.pop(call, None)
            self._waiting_fresh.pop(call, None)
        else:
            self._discard(connection)
        self._balance()

    def reject(self, connection: Connection) -> None:
        """Close a connection on which an answer came that can't be its request's. Called by the request."""
        self._reuse.mixed_up(self._now())
        self._obey()
        if isinstance(connection.exchange, Call):
            self._ask_elsewhere(connection, connection.exchange)
        elif connection in self._connections:
            self._discard(connection)

    # ------------------------------------------------------------ the pool

    def _place(self, call: Call) -> None:
        """Start a request on an idle connection, or have it wait for one."""
        if call.fresh:
            self._waiting_fresh[call] = None
        else:
            while self._idle:
                connection, _ = self._idle.popitem()
                if self._start(call, connection):
                    return
            self._waiting[call] = None
        self._open_more()

    def _start(self, call: Call, connection: Connection) -> bool:
        if connection.begin(call):
            call.connection = connection
            return True
        self._discard(connection)
        return False

    def _employ(self, connection: Connection) -> None:
        """Give a free connection to the request that waits longest, or keep it for the next."""
        line = self._waiting_fresh if self._waiting_fresh and not connection.served else self._waiting
        if line:
            call, _ = line.popitem(last=False)
            if not self._start(call, connection):
                line[call] = None
                line.move_to_end(call, last=False)
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
        self._forget(connection)
        connection.close()

    def _forget(self, connection: Connection) -> None:
        self._connections.pop(connection, None)
        if connection.noisy and self._reuse.trusted:
            self._reuse.unrequested()
            logger.warning(_NOISE, self._target.url)
            self._obey()
            for other in tuple(self._connections):
                if other.served and isinstance(other.exchange, Call):
                    self._ask_elsewhere(other, other.exchange)

    def _obey(self) -> None:
        """Close what is kept for other requests where connections are not to be reused."""
        while self._idle and not self._reuse.allowed:
            self._discard(self._idle.popitem()[0])

    def _balance(self) -> None:
        """After a change: as many connections being opened as requests wait, within the limit."""
        if self._waiting or self._waiting_fresh:
            self._open_more()
        elif self._openings:
            self._openings.withdraw(len(self._openings))

    def _open_more(self) -> None:
        while len(self._openings) < self.waiting:
            if not self._openings.begin(self.open) and not self._make_room():
                return

    def _make_room(self) -> bool:
        """Where one is needed that has carried nothing yet, open it in place of the one that is idle longest."""
        if not self._idle or not self._waiting_fresh:
            return False
        oldest = next(iter(self._idle))
        del self._idle[oldest]
        self._discard(oldest)
        return self._openings.begin(self.open)

    def _take(self, outcome: socket.socket | Broken | None) -> None:
        """Use a connection that was opened, or answer the request that waits longest with why there is none."""
        if isinstance(outcome, socket.socket):
            outcome = self._add(outcome)
        if isinstance(outcome, NoFiles) and (held := self.open + len(self._openings)):
            # Those who wait get a connection that others leave.
            self._limit.refused(held)
        elif isinstance(outcome, Broken) and (line := self._waiting_fresh or self._waiting):
            call, _ = line.popitem(last=False)
            call.settle(structs.replace(outcome, sent=True) if call.was_sent else outcome)
        self._balance()

    def _add(self, sock: socket.socket) -> Broken | None:
        try:
            connection = Connection(sock, self._inbox, self._buffer, self)
        except (OSError, ValueError) as error:
            return Broken("connect", "connect", f"a new connection can't be used: {error}", False)
        self._reuse.look(self._now())
        self._connections[connection] = None
        self._employ(connection)
        return None

    # ------------------------------------------------------------ sending again

    def _met_its_close(self, connection: Connection, broken: Broken) -> bool:
        """Return whether a request failed because the server was closing the kept connection it was sent on."""
        before = connection.served - 1 or connection.idle_since  # answers, without this one
        if not before or broken.kind not in _CLOSES or broken.phase == "body":
            return False
        self._reuse.met_close(connection.era, self._now())
        self._obey()
        return True

    def _send_again(self, call: Call) -> None:
        """Send a request once more, on a fresh connection."""
        call.fresh = True
        self._start_over(call)

    def _ask_elsewhere(self, connection: Connection, call: Call) -> None:
        """Send a request again that could get the answer of one before it.

        It is on a kept connection, so it is none of those that must not be sent twice.
        """
        self._discard(connection)
        self._send_again(call)

    def _follow(self, call: Call, reply: Reply) -> bool:
        """Send a request on to where an answer leads, if that is on this server."""
        base = "" if call.redirects else self._base_path
        path = path_to_follow(reply, f"{self._target.url}{base}{call.request.path}", call.redirects)
        if path is None:
            return False
        call.redirects += 1
        call.request = structs.replace(call.request, path=path)
        self._start_over(call)
        return True

    def _start_over(self, call: Call) -> None:
        call.begin_again((self._head_at_root if call.redirects else self._head).render(call.request))
        self._place(call)


def _request_head(target: Target, base_path: str, headers: Iterable[tuple[str, str]]) -> RequestHead:
    host = authority(target.scheme, target.host, target.port)
    if target.proxy is None or target.scheme != "http":
        return RequestHead(host, base_path, headers)
    # A proxy for plain requests is told the whole URL with each of them.
    return RequestHead(host, target.url + base_path, (*headers, *proxy_authorization(target.proxy)))
