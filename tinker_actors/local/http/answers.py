"""Answers: what the core says, as responses."""

from __future__ import annotations

import asyncio

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tinker_actors.local.core.requests.messages import Answer, RefusedError

_PIECE = 256 * 1024


def response_of(answer: Answer) -> Response:
    """Return the response that gives an answer."""
    kind = Response if len(answer.body) <= _PIECE else _InPieces
    return kind(answer.body, answer.status, dict(answer.headers))


def refused(refusal: RefusedError) -> Response:
    """Return the response to a request whose body is not read, so that its connection can't be used again."""
    answer = refusal.answer()
    return Response(answer.body, answer.status, {**dict(answer.headers), "connection": "close"})


class _InPieces(Response):
    """A large answer, piece by piece: what a client has not read yet is not copied for it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Send it."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for place in range(0, len(self.body), _PIECE):
            last = place + _PIECE >= len(self.body)
            await send({"type": "http.response.body", "body": self.body[place : place + _PIECE], "more_body": not last})
            await asyncio.sleep(0)  # as long as the system takes pieces, nobody else would have a turn
