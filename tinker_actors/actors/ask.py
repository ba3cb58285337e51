"""Asking the server: plain requests, each answered once, beside the operations that lanes carry.

What an endpoint is asked, how its answer is read and whether it is asked again stand in `protocol/endpoints.py`; what
is asked here goes by the control lane, which knows deadlines, retries and the budget for them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinker_actors.actors.lane.keeper import Lanes
from tinker_actors.actors.lane.work import Call, SessionLink
from tinker_actors.actors.messages import CallFailed, Replied
from tinker_actors.protocol.codec.wire_json import encode_body
from tinker_actors.protocol.endpoints import ENDPOINTS
from tinker_actors.runtime.actor import Ref, tell
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.types.wire import Body


def ask(
    lanes: Lanes,
    asker: Ref,
    endpoint: str,
    body: Body | None = None,
    *,
    to: Any = None,
    session: SessionLink | None = None,
    patience: float | None = None,
    timeout: float | None = None,
    **ids: str,
) -> None:
    """Ask the server for an actor. It is told `Replied` with the answer, read, or `CallFailed`.

    Args:
        lanes: who carries it.
        asker: the actor.
        endpoint: what is asked, by its name in the table.
        body: what is sent; None for a GET.
        to: given back with the answer; default: the name of the endpoint.
        session: what a 404 or 410 makes suspect; None where it is final.
        patience: seconds from the first sending at which it is given up; None for as long as it takes.
        timeout: seconds for one attempt; default: `request_timeout`.
        **ids: what stands in the path.
    """
    to = endpoint if to is None else to
    lanes.call(
        "control",
        _call(
            endpoint,
            body,
            lambda done: tell(asker, Replied(to, done)),
            lambda error: tell(asker, CallFailed(to, error)),
            session=session,
            patience=patience,
            timeout=timeout,
            ids=ids,
        ),
    )


def ask_for(
    lanes: Lanes,
    future: APIFuture[Any],
    endpoint: str,
    body: Body | None = None,
    *,
    take: Callable[[Any], Any] | None = None,
    session: SessionLink | None = None,
    patience: float | None = None,
    **ids: str,
) -> None:
    """Ask the server, and settle a future with the answer, read, or with the error; see `ask`.

    Args:
        lanes: who carries it.
        future: the future.
        endpoint: what is asked.
        body: what is sent.
        take: returns what of the answer the future gets; default: all.
        session: what a 404 or 410 makes suspect.
        patience: seconds.
        **ids: what stands in the path.
    """
    lanes.call(
        "control",
        _call(
            endpoint,
            body,
            lambda done: future._settle(done.value if take is None else take(done.value)),
            lambda error: future._settle(error=error),
            session=session,
            patience=patience,
            ids=ids,
        ),
    )


def _call(
    endpoint: str,
    body: Body | None,
    on_done: Callable[[Any], Any],
    on_failed: Callable[[Any], Any],
    *,
    session: SessionLink | None,
    patience: float | None,
    ids: dict[str, str],
    timeout: float | None = None,
) -> Call:
    asked = ENDPOINTS[endpoint]
    return Call(
        endpoint,
        asked,
        b"" if body is None else encode_body(body),
        on_done,
        on_failed,
        path=asked.at(**ids) if ids else None,
        session=session,
        patience=patience,
        timeout=timeout,
    )
