"""Questions: plain requests whose decoded answer settles a future."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinker_actors.actors.service import Service
from tinker_actors.actors.work import Call, SessionLink
from tinker_actors.errors import TinkerError
from tinker_actors.protocol.endpoints import ENDPOINTS
from tinker_actors.protocol.outcomes import Done
from tinker_actors.runtime.futures import APIFuture


def ask_server(
    service: Service,
    endpoint: str,
    future: APIFuture[Any],
    read: Callable[[str, bytes], Any],
    *,
    session: SessionLink | None = None,
    **ids: str,
) -> None:
    """Send a GET on the control lane, and settle a future with what comes of it.

    Args:
        service: whose lanes carry it.
        endpoint: its name.
        future: settled with `read`'s result, or with the error.
        read: decodes Content-Type and body; may raise `TinkerError`.
        session: what a 404 or 410 makes suspect, or None when it is final.
        **ids: what stands in the path.
    """

    def answered(done: Done) -> None:
        try:
            future._settle(read(done.content_type, done.body))
        except TinkerError as error:
            future._settle(error=error)

    asked = ENDPOINTS[endpoint]
    call = Call(
        endpoint,
        asked.method,
        asked.at(**ids) if ids else asked.path,
        b"",
        answered,
        lambda error: future._settle(error=error),
        session=session,
        patience=service.config.creation_timeout,
    )
    service.lanes.call("control", call)
