"""Door: who is let in before anything of a request is looked at, and what every answer tells browsers."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from tinker_actors.local.core.access.origins import Origins, require_read_type
from tinker_actors.local.core.requests.messages import RefusedError
from tinker_actors.local.http.answers import refused

ANSWER_HEADERS = [
    ("x-content-type-options", "nosniff"),
    ("cache-control", "no-store"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
]
"""On every answer: browsers take it for what it says it is, do not keep it, and let a page of ours load nothing."""


class Door:
    """An ASGI application that refuses what web pages send, in front of another one.

    Args:
        inner: the application behind it.
        origins: who may call.
    """

    def __init__(self, inner: ASGIApp, origins: Origins) -> None:
        self._inner = inner
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or pass on whatever else a server asks of an application."""
        if scope["type"] == "http":
            try:
                self._origins.require_own(scope["headers"], (scope.get("server") or (None,))[0])
                require_read_type(scope["method"], scope["headers"])
            except RefusedError as refusal:
                await refused(refusal)(scope, receive, send)
                return
        await self._inner(scope, receive, send)
