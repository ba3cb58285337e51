"""Questions: plain requests whose decoded answer settles a future."""

from __future__ import annotations

import math
import weakref
from typing import Any, TypeVar

from tinker_actors.actors.service import Service
from tinker_actors.actors.supervisor import Expire
from tinker_actors.errors import DeadlineExceededError, InvalidInputError, fresh
from tinker_actors.runtime.actor import tell
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.types.scalars import plain_number

T = TypeVar("T")


def question(service: Service, what: str) -> APIFuture[Any]:
    """Return the future of an answer. Closing the service waits for it, or fails it."""
    future: APIFuture[Any] = APIFuture(service.tracker(what), delivery=service.platform.delivery)
    service.questions.add(future)
    future.add_done_callback(service.questions.discard)
    return future


def wait_for(future: APIFuture[T], timeout: float | None) -> T:
    """Wait for an answer that nobody else waits for. When the time is over it is wanted no more; closing does not wait.

    Args:
        future: of the answer; its failure is no news to anybody but the caller.
        timeout: seconds; None waits as long as the question's own limits let it.

    Raises:
        DeadlineExceededError: the time is over.
        TinkerError: there is no answer.
    """
    future._looked_at, future._counted = True, False
    try:
        return future.result(timeout)
    except DeadlineExceededError as error:
        future._settle(error=fresh(error))
        raise


def limited(service: Service, future: APIFuture[T], timeout: float | None) -> APIFuture[T]:
    """Return the future as it is, and have it fail when its time is over: it is wanted no more then.

    Args:
        service: whose supervisor watches the time.
        future: of an answer.
        timeout: seconds, checked; None leaves it to the answer's own limits.
    """
    if timeout is not None:
        tell(service.supervisor, Expire(weakref.ref(future), timeout))
    return future


def checked_timeout(timeout: Any) -> float | None:
    """Return seconds to wait as a number, or None for as long as it takes.

    Raises:
        InvalidInputError: neither.
    """
    if timeout is None:
        return None
    seconds = plain_number(timeout, "timeout")
    if math.isnan(seconds):
        raise InvalidInputError("timeout is nan; it must be a number of seconds, or None for no limit.")
    return max(seconds, 0.0)


async def wait_for_async(future: APIFuture[T], timeout: float | None) -> T:  # noqa: ASYNC109 - see result_async
    """Await an answer that nobody else waits for; see `wait_for`."""
    future._looked_at, future._counted = True, False
    try:
        return await future.result_async(timeout)
    except DeadlineExceededError as error:
        future._settle(error=fresh(error))
        raise
