"""Closing: how a service's end is told, and the end of one that nobody closed."""

from __future__ import annotations

import contextlib
import math
import time
from typing import Any, Literal, get_args

import pykka

from tinker_actors.actors.lane.keeper import lane_states
from tinker_actors.actors.lane.work import Work
from tinker_actors.actors.messages import Unfinished
from tinker_actors.actors.service import Service
from tinker_actors.actors.supervisor import Children, Close
from tinker_actors.clients.local_door import Visit
from tinker_actors.clients.tree import answer_of, answers_of
from tinker_actors.errors import ClientClosedError, DeadlineExceededError, InvalidInputError
from tinker_actors.runtime.actor import logger, tell
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.unseen import cost_of, count_cost, counted
from tinker_actors.types.scalars import plain_number, sendable_text, shown
from tinker_actors.wording import sentence

Status = Literal["success", "errored", "interrupted"]

DRAIN = 30.0
"""How long what is in flight may take after success, in seconds."""

_DRAIN_AFTER_ERROR = 5.0  # the same after an exception

_LONGEST_DETAIL = 500

SILENT_FOR = 3.0
"""How long one waits for the end of a service before one is told what for, in seconds."""

_MORE_RARELY = 4


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


def unfinished(service: Service) -> list[str]:
    """Return the names of the operations that are not finished. Waits for two seconds at most for its actors."""
    works = [item for item in service.lanes.under_way(service.link) if isinstance(item, Work)]
    samples = [work.tracker.what for work in works if work.sink.owed() is not None]
    questions = [question._tracker.what for question in service.questions.copy()]
    children = answer_of(service.supervisor.ask(Children(), block=False), {})
    asked = [ref.ask(Unfinished(), block=False) for name, ref in children.items() if name.startswith("training-")]
    return [*(name for names in answers_of(asked, []) for name in names), *samples, *questions]


def tell_patience(service: Service, left: float) -> None:
    """Say at WARNING what closing waits for, and what the server's trouble is if it has any.

    Args:
        service: what is being closed.
        left: for how many seconds more, at most.
    """
    names = unfinished(service)
    what = counted(names) if names else "the server to hear of it"
    trouble = service.lanes.server.trouble
    why = f" The server does not answer: {sentence(trouble)}" if trouble else ""
    logger.warning("Closing waits for %s, up to %.0f s more.%s", what, left, why)


def wait_for_end(over: APIFuture[None], service: Service, timeout: float, grace: float) -> None:
    """Wait until a service has ended and the lanes have failed what belonged to it: they are told, and do it later.

    Who waits for more than a few seconds is told what for, and again more and more rarely.

    Args:
        over: the end of the service.
        service: which.
        timeout: seconds that what is in flight has.
        grace: seconds on top of that, to wait for the end and the lanes.

    Raises:
        DeadlineExceededError: it has not ended in time.
    """
    began, silent = time.monotonic(), SILENT_FOR
    while True:
        left = timeout + grace - (time.monotonic() - began)
        try:
            over.result(min(silent, left))
            break
        except DeadlineExceededError:
            if left <= silent:
                raise
        tell_patience(service, max(0.0, left - silent - grace))
        silent *= _MORE_RARELY
    ends = began + timeout + grace
    for answer in lane_states(service.lanes).values():
        # One that has ended has done it, or its successor begins with that.
        with contextlib.suppress(pykka.ActorDeadError, pykka.Timeout):
            answer.get(timeout=max(0.0, ends - time.monotonic()))


def abandon(service: Service, visit: Visit | None) -> None:
    """End a service whose handle was dropped without `close`. Runs wherever the garbage collector does."""
    if visit is not None:
        service.over.add_done_callback(lambda _: visit.leave(wait=False))
    tell(service.supervisor, Close("success", "the client was dropped", DRAIN))
