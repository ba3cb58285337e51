"""Closing: how a service's end is told, and the end of one that nobody closed."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

from tinker_actors.actors.service import Service
from tinker_actors.actors.tree import Close
from tinker_actors.clients import local_door
from tinker_actors.errors import InvalidInputError
from tinker_actors.runtime.actor import tell
from tinker_actors.types.scalars import plain_number, sendable_text, shown

Status = Literal["success", "errored", "interrupted"]

DRAIN = 30.0
"""How long what is in flight may take after success, in seconds."""

_LONGEST_DETAIL = 500


def check_ending(status: Any, detail: Any, timeout: Any) -> None:
    """Check the arguments of `close`, before anything is ended.

    Raises:
        InvalidInputError: a status that the wire does not know, a detail that can't be sent, or no number of seconds.
    """
    if status not in get_args(Status):
        known = ", ".join(map(repr, get_args(Status)))
        raise InvalidInputError(f"status is {shown(status)}; it must be one of {known}.")
    if detail is not None:
        sendable_text(detail, "detail")
    if math.isnan(plain_number(timeout, "timeout")):
        raise InvalidInputError("timeout is nan; it must be a number of seconds.")


def detail_of(error: BaseException | None) -> str:
    """Return an error as a detail of the session's end: what can't be sent in its text is escaped."""
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:  # the error's own text can't be made
        text = type(error).__name__
    return text.encode("utf-8", "backslashreplace").decode()[:_LONGEST_DETAIL]


def abandon(service: Service, address: str | None) -> None:
    """End a service whose handle was dropped without `close`. Runs wherever the garbage collector does."""
    if address is not None:
        service.over.add_done_callback(lambda _: local_door.leave(address))
    tell(service.supervisor, Close("success", "the client was dropped", DRAIN))
