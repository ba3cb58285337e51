"""Levers: what faults do to the core itself.

They reach into its state between two of its calls and on its thread, as a request does.
"""

from __future__ import annotations

import msgspec

from tinker_actors.local.core import ServiceCore
from tinker_actors.local.core.requests.messages import RefusedError
from tinker_actors.local.core.sessions import end_session
from tinker_actors.local.http.app import App

_WHY = "a fault was asked for"


class _Poll(msgspec.Struct):
    request_id: str


class Levers:
    """Acts on one server's core. For the event loop's thread.

    Args:
        core: the core.
        app: what serves it.
    """

    def __init__(self, core: ServiceCore, app: App) -> None:
        self._state = core.state
        self._app = app

    @property
    def steps(self) -> int:
        """Optimizer steps applied since the server was started."""
        return self._state.steps_applied

    @property
    def body_limit(self) -> int:
        """Bytes of the largest body that the core looks at."""
        return self._state.limits.body_bytes

    def operation(self, body: bytes) -> str | None:
        """Return the operation whose result a poll asks for, or None if there is none."""
        try:
            return self._state.futures.find(request_id(body)).kind
        except RefusedError:
            return None

    def lose_session(self, path: str, body: bytes, *, forget: bool) -> None:
        """End the sessions that a request is about.

        Ids of models and samplers begin with their session's; a poll is about the session of what it asks for.

        Args:
            path: of the request.
            body: of the request, in any encoding that leaves strings as they are.
            forget: whether nothing of it is remembered, so that it is as if it had never been.
        """
        said, polled = path.encode() + body, self._session_of_poll(body)
        for session_id in self._state.sessions.living():
            if session_id.encode() in said or session_id == polled:
                end_session(self._state, session_id, _WHY)
                if forget:
                    self._state.sessions.forget(session_id)
        self._app.wake()

    def drop_result(self, body: bytes) -> None:
        """Drop the result that a poll asks for; one still to come is lost."""
        try:
            self._state.futures.drop(request_id(body), f"The result of request {request_id(body)} is gone: {_WHY}.")
        except RefusedError:
            return  # there is none: the core will say so
        self._app.wake()

    def _session_of_poll(self, body: bytes) -> str | None:
        try:
            return self._state.futures.find(request_id(body)).session_id
        except RefusedError:
            return None

    def jump(self, seconds: float) -> None:
        """Let the core's clock jump ahead."""
        self._app.clock_offset += seconds
        self._app.wake()


def request_id(body: bytes) -> str:
    """Return the id of the request that a poll asks for; empty if the body has none."""
    try:
        return msgspec.json.decode(body, type=_Poll).request_id
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return ""
