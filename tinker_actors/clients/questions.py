"""Questions: plain requests whose decoded answer settles a future."""

from __future__ import annotations

from typing import Any

from tinker_actors.actors.service import Service
from tinker_actors.actors.work import Call, SessionLink
from tinker_actors.protocol.endpoints import ENDPOINTS
from tinker_actors.protocol.outcomes import Read
from tinker_actors.runtime.futures import APIFuture


def question(service: Service, what: str) -> APIFuture[Any]:
    """Return the future of an answer. Closing the service waits for it, or fails it."""
    future: APIFuture[Any] = APIFuture(service.tracker(what), delivery=service.platform.delivery)
    service.questions.add(future)
    future.add_done_callback(service.questions.discard)
    return future


def ask_server(
    service: Service,
    endpoint: str,
    future: APIFuture[Any],
    read: Read,
    *,
    session: SessionLink | None = None,
    **ids: str,
) -> None:
    """Send a GET on the control lane, and settle a future with what comes of it.

    Args:
        service: whose lanes carry it.
        endpoint: its name.
        future: settled with `read`'s result, or with the error.
        read: reads Content-Type and body.
        session: what a 404 or 410 makes suspect, or None when it is final.
        **ids: what stands in the path.
    """
    asked = ENDPOINTS[endpoint]
    call = Call(
        endpoint,
        asked,
        b"",
        lambda done: future._settle(done.value),
        lambda error: future._settle(error=error),
        path=asked.at(**ids) if ids else None,
        read=read,
        session=session,
        patience=service.config.creation_timeout,
    )
    service.lanes.call("control", call)
