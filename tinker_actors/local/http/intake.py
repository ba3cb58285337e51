"""Intake: bodies taken in, within bounds on how large each is, how long it takes, and how much all of them are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tinker_actors.local.core.limits import Limits
from tinker_actors.local.core.requests.intake import SMALL_BYTES, bounds_of, require_size
from tinker_actors.local.core.requests.messages import RefusedError
from tinker_actors.local.http.answers import refused

CheckKey = Callable[[Mapping[str, str]], None]
"""Raises `RefusedError` for headers whose key is nobody's."""

_STRANGERS_BYTES = 2**20  # of a body that are read before it is asked whose it is


class Arriving:
    """The memory of all bodies that are arriving or being read. For the event loop's thread.

    Args:
        limit: most bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sizes: dict[asyncio.Timeout, int] = {}  # the one that began first comes first
        self._complete = 0

    def grow(self, deadline: asyncio.Timeout, size: int) -> None:
        """Note how large a body is by now; the oldest ones' deadlines come at once where it is too much.

        Raises:
            RefusedError: 503, there are no others to take the memory from.
        """
        self._sizes[deadline] = size
        while sum(self._sizes.values()) + self._complete > self._limit:
            oldest = next(iter(self._sizes))
            del self._sizes[oldest]
            if oldest is deadline:
                raise RefusedError(503, "There is no memory left for this body now.", ("retry-after", "1"))
            oldest.reschedule(0.0)

    def complete(self, deadline: asyncio.Timeout) -> int:
        """Note that a body has arrived, which is kept until `release`; returns how many bytes that are."""
        size = self._sizes.pop(deadline, 0)
        self._complete += size
        return size

    def drop(self, deadline: asyncio.Timeout) -> None:
        """Note that a body is not taken in."""
        self._sizes.pop(deadline, None)

    def release(self, size: int) -> None:
        """Note that a body that had arrived has been read."""
        self._complete -= size


class Intake:
    """An ASGI application that takes in bodies for another one, which gets each in one piece.

    Args:
        inner: the application behind it.
        limits: how much is taken.
        check_key: asked before much of a body is read.
    """

    def __init__(self, inner: ASGIApp, limits: Limits, check_key: CheckKey) -> None:
        self._inner = inner
        self._limits = limits
        self._check_key = check_key
        self._arriving = Arriving(limits.arriving_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or pass on whatever else a server asks of an application."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        try:
            body, kept = await self._body(scope, receive)
        except RefusedError as refusal:
            # The rest of the body is not read, so the connection can't be used again.
            await refused(refusal)(scope, receive, send)
            return
        if body is None:
            await Response(status_code=499)(scope, receive, send)  # nobody reads it
            return
        try:
            await self._inner(scope, _again(body, receive), send)
        finally:
            self._arriving.release(kept)

    async def _body(self, scope: Scope, receive: Receive) -> tuple[bytes | None, int]:
        """Return the body, or None for a client that is gone; and how many bytes are to be released."""
        bounds = bounds_of(scope["path"], self._limits)
        pieces: list[bytes] = []
        size, known = 0, False
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit():
                require_size(int(value[:18]), bounds)
        try:
            async with asyncio.timeout(self._limits.body_seconds) as deadline:
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        self._arriving.drop(deadline)
                        return None, 0
                    pieces.append(message.get("body", b""))
                    size += len(pieces[-1])
                    require_size(size, bounds)
                    if size > _STRANGERS_BYTES and not known:
                        self._check_key(Headers(scope=scope))
                        known = True
                    if size > SMALL_BYTES:
                        self._arriving.grow(deadline, size)
                    if not message.get("more_body", False):
                        kept = self._arriving.complete(deadline)
                        return b"".join(pieces), kept
        except TimeoutError:
            self._arriving.drop(deadline)
            seconds = self._limits.body_seconds
            raise RefusedError(
                408, f"The body did not arrive within {seconds:g} seconds, or others took its place."
            ) from None
        except RefusedError:
            self._arriving.drop(deadline)
            raise


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a way to receive a body in one piece, and then what comes after it."""
    given = False

    async def once() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return once
