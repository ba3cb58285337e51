"""Admin: the switchboard over HTTP, for whoever started the server.

It exists only where it was switched on, and answers only to the token that was made with it.
"""

from __future__ import annotations

import hmac
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tinker_actors.local.faults.control import ADMIN_PATH, TOKEN_HEADER
from tinker_actors.local.faults.levers import Levers
from tinker_actors.local.faults.rules import make_rule
from tinker_actors.local.faults.switchboard import Switchboard
from tinker_actors.protocol.codec import wire_json


class Admin:
    """The admin endpoint, as an ASGI application.

    Args:
        board: the rules.
        levers: tells how many steps have been applied.
        token: what requests must show.
    """

    def __init__(self, board: Switchboard, levers: Levers, token: str) -> None:
        self._board = board
        self._levers = levers
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        request = Request(scope, receive)
        shown = request.headers.get(TOKEN_HEADER, "")
        if not hmac.compare_digest(shown.encode(), self._token.encode()):
            response = _said(401, {"detail": f"The token in the header {TOKEN_HEADER} is missing or wrong."})
        else:
            name = scope["path"].removeprefix(ADMIN_PATH).removeprefix("/")
            response = self._answer(request.method, name, await request.body())
        await response(scope, receive, send)

    def _answer(self, method: str, name: str, body: bytes) -> Response:
        if method == "DELETE" and name:
            found = self._board.remove(name)
            return _said(200, {}) if found else _said(404, {"detail": f"There is no rule {name!r}."})
        if name:
            return _said(404, {"detail": f"There is nothing but DELETE for {name!r}."})
        if method == "GET":
            return _said(200, self._state())
        if method == "POST":
            return self._add(body)
        if method == "DELETE":
            self._board.clear()
            return _said(200, {})
        return _said(405, {"detail": f"{ADMIN_PATH} is for GET, POST and DELETE."})

    def _add(self, body: bytes) -> Response:
        try:
            rule = make_rule(msgspec.json.decode(body, type=dict[str, Any]))
            return _said(200, self._board.add(rule, self._levers.steps))
        except (msgspec.MsgspecError, ValueError) as error:
            return _said(400, {"detail": str(error)})

    def _state(self) -> dict[str, Any]:
        return {"seed": self._board.seed, "rules": self._board.rules(), "counts": self._board.counts()}


def _said(status: int, value: Any) -> Response:
    return Response(wire_json.encode(value), status, media_type="application/json")
