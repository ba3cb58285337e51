"""Cancelling: telling the server which samples nobody wants any more.

A few at a time, because a step of training may drop thousands at once, and what is wanted goes first.
"""

from __future__ import annotations

from collections import deque

from tinker_actors.actors.calling import Calling
from tinker_actors.actors.desk import Desk
from tinker_actors.actors.work import Call
from tinker_actors.errors import TinkerError
from tinker_actors.protocol.codec import encode
from tinker_actors.protocol.endpoints import ENDPOINTS
from tinker_actors.protocol.outcomes import Done
from tinker_actors.runtime.actor import logger

_AT_A_TIME = 16


class Cancelling:
    """The cancelling hand of a lane; used on its thread only."""

    def __init__(self, desk: Desk, calling: Calling) -> None:
        self._desk = desk
        self._calling = calling
        self._line: deque[str] = deque()
        self._out = 0

    def cancel(self, request_id: str) -> None:
        """Tell the server, soon. What it answers changes nothing."""
        self._line.append(request_id)
        self._next()

    def _next(self) -> None:
        while self._line and self._out < _AT_A_TIME:
            self._tell_server(self._line.popleft())

    def _tell_server(self, request_id: str) -> None:
        def done(_: Done) -> None:
            self._out -= 1
            self._next()

        def failed(error: TinkerError) -> None:
            logger.debug("The server did not cancel %s: %s", request_id, error)
            self._out -= 1
            self._next()

        body = encode({"request_id": request_id})
        call = Call("cancel_future", ENDPOINTS["cancel_future"], body, done, failed)
        call.holder = self._desk
        self._out += 1
        self._desk.table[call.id] = call
        self._calling.send(call)
