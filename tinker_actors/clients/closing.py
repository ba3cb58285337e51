"""Closing: how a service's end is told, and the end of one that nobody closed."""

from __future__ import annotations

import contextlib
import math
from typing import Any, Literal, get_args

import pykka

from tinker_actors.actors.lane.keeper import lane_states
from tinker_actors.actors.service import Service
from tinker_actors.actors.supervisor import Close
from tinker_actors.clients.local_door import Visit
from tinker_actors.errors import ClientClosedError, InvalidInputError
from tinker_actors.runtime.actor import logger, tell
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.unseen import cost_of, count_cost, counted
from tinker_actors.types.scalars import plain_number, sendable_text, shown

Status = Literal["success", "errored", "interrupted"]

DRAIN = 30.0
"""How long what is in flight may take after success, in seconds."""

_DRAIN_AFTER_ERROR = 5.0  # the same after an exception

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


def ending_of(kind: type[BaseException] | None, error: BaseException | None) -> tuple[Status, str | None, float]:
    """Return how a service ends whose `with` block is left: status, detail, and seconds for what is in flight.

    Args:
        kind: the class of the exception that left the block, or None.
        error: the exception.
    """
    if kind is None:
        return "success", None, DRAIN
    if issubclass(kind, Exception):
        return "errored", detail_of(error), _DRAIN_AFTER_ERROR
    return "interrupted", kind.__name__, 0.0


def begin_end(service: Service) -> None:
    """Take nothing new. What fails of it from here on is counted."""
    if service.ended is None:
        ended = ClientClosedError("The service client was closed.")
        count_cost(ended)
        service.ended = ended


def tell_cost(service: Service) -> None:
    """Say in one line what failed because the service was closed; nothing where all was finished."""
    cost = None if service.ended is None else cost_of(service.ended)
    if cost:
        logger.warning("Closed with %s unfinished; their futures failed", counted(cost))


def wait_for_end(over: APIFuture[None], service: Service, timeout: float) -> None:
    """Wait until a service has ended and the lanes have failed what belonged to it: they are told, and do it later.

    Args:
        over: the end of the service.
        service: which.
        timeout: seconds to wait for it, and for each lane.

    Raises:
        DeadlineExceededError: it has not ended in time.
    """
    over.result(timeout)
    for answer in lane_states(service.lanes).values():
        # One that has ended has done it, or its successor begins with that.
        with contextlib.suppress(pykka.ActorDeadError, pykka.Timeout):
            answer.get(timeout=timeout)


def abandon(service: Service, visit: Visit | None) -> None:
    """End a service whose handle was dropped without `close`. Runs wherever the garbage collector does."""
    if visit is not None:
        service.over.add_done_callback(lambda _: visit.leave(wait=False))
    tell(service.supervisor, Close("success", "the client was dropped", DRAIN))
