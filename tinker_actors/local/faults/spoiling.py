"""Spoiling: the sending side of an answer that does not arrive as it was meant."""

from __future__ import annotations

from starlette.types import Message, Send

from tinker_actors.local.faults.connection import Connection
from tinker_actors.local.faults.rules import Kind

GARBAGE = b"\xff" * 8
"""Neither JSON (it is not UTF-8) nor protobuf (the first tag has a wire type that does not exist)."""


class Spoiler:
    """Takes an application's answer and sends what is left of it.

    Attributes:
        broken: whether the connection has been ended.

    Args:
        kind: how it is spoiled: a kind whose place is `"reply"`.
        send: sends to the client.
        connection: what to break.
    """

    def __init__(self, kind: Kind, send: Send, connection: Connection) -> None:
        self.broken = False
        self._kind = kind
        self._send = send
        self._connection = connection
        self._garbled = False

    async def __call__(self, message: Message) -> None:
        """Take one ASGI message of the answer."""
        if self.broken:
            return
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if self._kind == "reply_lost":
            if last:
                self._end(reset=False)
        elif self._kind == "corrupted":
            await self._send(self._corrupted(message))
        elif self._kind == "reset_after":
            await self._send(message)
            if last:
                await self._connection.drain()
                self._end(reset=True)
        else:
            await self._cut(message, last)

    async def _cut(self, message: Message, last: bool) -> None:
        """Send up to the middle of the first piece of the body, and end the connection there."""
        body = message.get("body", b"")
        if not body and not last:
            await self._send(message)
            return
        await self._send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        await self._connection.drain()
        self._end(reset=self._kind == "reset_middle")

    def _corrupted(self, message: Message) -> Message:
        body = message.get("body", b"")
        if not body or self._garbled:
            return message
        self._garbled = True
        return {**message, "body": (GARBAGE + body[len(GARBAGE) :])[: len(body)]}

    def _end(self, *, reset: bool) -> None:
        self.broken = True
        if reset:
            self._connection.reset()
        else:
            self._connection.close()
