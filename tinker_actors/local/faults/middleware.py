"""Middleware: the application with faults in front of it and behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tinker_actors.local.faults.connection import EXTENSION, Connection
from tinker_actors.local.faults.control import ADMIN_PATH
from tinker_actors.local.faults.levers import Levers, request_id
from tinker_actors.local.faults.rules import POLL, Rule
from tinker_actors.local.faults.spoiling import Spoiler
from tinker_actors.local.faults.switchboard import Switchboard
from tinker_actors.protocol.codec import wire_json

PREFIX = "/api/v1/"

PAUSE_SECONDS = 0.05
"""How long a poll that is answered "paused" takes by default. Clients poll again at once: zero would be a busy loop."""

_NOT_FOUND = 404
_OK = 200


class FaultyApp:
    """An ASGI application that misbehaves by a switchboard's rules.

    Args:
        inner: the application that behaves.
        board: the rules.
        levers: for faults that happen in the core.
        admin: answers requests below `ADMIN_PATH`; None leaves them to `inner`.
    """

    def __init__(self, inner: ASGIApp, board: Switchboard, levers: Levers, admin: ASGIApp | None = None) -> None:
        self._inner = inner
        self._board = board
        self._levers = levers
        self._admin = admin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or pass on whatever else a server asks of an application."""
        path: str = scope.get("path", "")
        if self._admin is not None and (path == ADMIN_PATH or path.startswith(f"{ADMIN_PATH}/")):
            await self._admin(scope, receive, send)
        elif path.startswith(PREFIX) and self._board.concerns(path.removeprefix(PREFIX)):
            await self._meddle(scope, receive, send)
        else:
            await self._inner(scope, receive, send)

    async def _meddle(self, scope: Scope, receive: Receive, send: Send) -> None:
        arrived = await _arrive(receive, self._levers.body_limit)
        if arrived.body is None:
            await self._inner(scope, arrived.again(), send)  # gone, or too large: the application knows what to say
            return
        path: str = scope["path"]
        endpoint = path.removeprefix(PREFIX)
        of = self._levers.operation(arrived.body) if endpoint == POLL else None
        verdict = self._board.decide(endpoint, of, self._levers.steps)
        for rule in verdict.asides:
            await self._aside(rule, scope, arrived)
        final = verdict.final
        if final is None:
            await self._inner(scope, arrived.again(), send)
        elif final.info.place == "instead":
            await self._answer_instead(final, scope, arrived, send)
        else:
            spoiler = Spoiler(final.kind, send, _connection(scope))
            await self._inner(scope, arrived.again(), spoiler)
            if spoiler.broken:
                await _gone(receive)

    async def _aside(self, rule: Rule, scope: Scope, arrived: _Arrived) -> None:
        body = arrived.body or b""
        if rule.kind == "delay":
            await asyncio.sleep(rule.seconds or 0.0)
        elif rule.kind == "duplicated":
            await self._inner(dict(scope), arrived.again(), _nowhere)
        elif rule.kind == "session_lost":
            self._levers.lose_session(scope["path"], body, forget=rule.status == _NOT_FOUND)
        elif rule.kind == "evicted":
            self._levers.drop_result(body)
        else:
            self._levers.jump(rule.seconds or 0.0)

    async def _answer_instead(self, rule: Rule, scope: Scope, arrived: _Arrived, send: Send) -> None:
        if rule.kind == "reset_before":
            _connection(scope).reset()
            await _gone(arrived.receive)
            return
        if rule.kind == "status":
            response = _refusal(rule)
        else:
            await asyncio.sleep(PAUSE_SECONDS if rule.seconds is None else rule.seconds)
            response = _paused(rule, arrived.body or b"")
        await response(scope, arrived.receive, send)


class _Arrived:
    """A request's body as it came.

    Attributes:
        body: the body, or None if it did not come in whole or is larger than the limit.
        receive: the connection's own, for what comes after.
    """

    def __init__(self, messages: list[Message], body: bytes | None, receive: Receive) -> None:
        self.body = body
        self.receive = receive
        self._messages = messages

    def again(self) -> Receive:
        """Return a way to receive the body from its beginning."""
        left: Iterator[Message] = iter(self._messages)

        async def receive() -> Message:
            message = next(left, None)
            return await self.receive() if message is None else message

        return receive


async def _arrive(receive: Receive, limit: int) -> _Arrived:
    messages: list[Message] = []
    size = 0
    while True:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        if message["type"] != "http.request" or size > limit:
            return _Arrived(messages, None, receive)
        if not message.get("more_body", False):
            return _Arrived(messages, b"".join(message.get("body", b"") for message in messages), receive)


def _refusal(rule: Rule) -> Response:
    assert rule.status is not None
    headers = {} if rule.retry_after is None else {"retry-after": f"{rule.retry_after:g}"}
    said = rule.reason or "A fault was asked for."
    if rule.html:
        return HTMLResponse(f"<html><body><h1>{rule.status}</h1><p>{said}</p></body></html>", rule.status, headers)
    return _json({"detail": said}, rule.status, headers)


def _paused(rule: Rule, body: bytes) -> Response:
    said = {"type": "try_again", "request_id": request_id(body), "queue_state": rule.kind}
    if rule.reason is not None:
        said["queue_state_reason"] = rule.reason
    return _json(said, rule.status or _OK, {})


def _json(value: object, status: int, headers: dict[str, str]) -> Response:
    return Response(wire_json.encode(value), status, headers, "application/json")


def _connection(scope: Scope) -> Connection:
    connection: Connection = scope["extensions"][EXTENSION]
    return connection


async def _gone(receive: Receive) -> None:
    """Wait until the server has noticed that a connection was ended, or it would complain of a missing answer."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _nowhere(_: Message) -> None:
    """Take the answer to a duplicate: nobody waits for it."""
