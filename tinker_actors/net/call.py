"""A request on its way through the pool of an HTTP transport."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import msgspec

from tinker_actors.net.connection import Connection
from tinker_actors.net.deadlines import Line
from tinker_actors.net.exchange import Exchange
from tinker_actors.net.transport import Answer, Request
from tinker_actors.runtime.threads import log_failure

logger = logging.getLogger(__name__)


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


class Pool(Protocol):
    """The transport, as its requests see it."""

    def expired(self, call: Call) -> None:
        """Answer a request whose time is up."""
        ...

    def leave(self, call: Call) -> None:
        """Take a request out of the pool."""
        ...

    def reject(self, connection: Connection) -> None:
        """Use a connection no more on which an answer came that can't be its request's."""
        ...


class Call(Exchange):
    """An exchange that somebody waits for; the port's `Ticket`. One object, since each request makes one.

    Args:
        pool: the transport.
        request: the request.
        pieces: the request as bytes, see `RequestHead.render`.
        on_answer: who waits.
        limits: bounds of the response.

    Attributes:
        request: the request.
        connection: what it is or was sent on, or None while it waits for one.
        fresh: whether it has to go on a connection that has carried nothing yet.
        redirects: how often it was sent on to another path.
        due: see `Deadlines`.
        line: see `Deadlines`.
    """

    __slots__ = ("_on_answer", "_pool", "connection", "due", "fresh", "line", "redirects", "request")

    def __init__(
        self,
        pool: Pool,
        request: Request,
        pieces: tuple[bytes, tuple[bytes, ...]],
        on_answer: Callable[[Answer], None],
        limits: Limits,
    ) -> None:
        super().__init__(request.method, *pieces, limits.max_header_bytes, limits.max_body_bytes)
        self._pool = pool
        self._on_answer: Callable[[Answer], None] | None = on_answer
        self.request = request
        self.fresh = request.once
        self.redirects = 0
        self.due = 0.0
        self.line: Line | None = None
        self.connection: Connection | None = None

    @property
    def was_sent(self) -> bool:
        """Whether the server may have seen it before, on a connection that was closed."""
        return self.fresh and not self.request.once

    @property
    def seen(self) -> bool:
        """Whether the server may have seen any of it: all but those that wait for their first connection."""
        return self.connection is not None or self.was_sent or self.redirects > 0

    def begin_again(self, pieces: tuple[bytes, tuple[bytes, ...]]) -> None:
        """Become an exchange that has not begun; who waits, and for how long, stays."""
        super().__init__(self.request.method, *pieces, self._max_head, self._max_body)
        self.connection = None

    def cancel(self) -> None:
        """Give up the request; a connection it is on is closed."""
        if self._on_answer is not None:
            self.drop()
            self._pool.leave(self)

    def reject(self) -> None:
        """Say that the answer can't be this request's."""
        assert self.connection is not None
        self._pool.reject(self.connection)

    def expire(self) -> None:
        """Fail the request for lack of time. Called by its deadline."""
        if self._on_answer is not None:
            self._pool.expired(self)

    def settle(self, answer: Answer) -> None:
        """Deliver the answer, unless it was delivered or the request given up."""
        on_answer = self._on_answer
        if on_answer is None:
            return
        self._on_answer = None
        if self.line is not None:
            self.line.leave(self)
        try:
            on_answer(answer)
        except BaseException:
            log_failure(logger, "The receiver of an answer failed")

    def drop(self) -> None:
        """Forget the receiver and the deadline."""
        self._on_answer = None
        if self.line is not None:
            self.line.leave(self)
