"""Lifetime: how a service is left, closed and refused when it is over."""

from __future__ import annotations

import contextlib
import weakref
from types import TracebackType
from typing import Any, Self

from tinker_actors.actors.service import Service
from tinker_actors.actors.supervisor import Close
from tinker_actors.clients.closing import (
    DRAIN,
    Status,
    begin_end,
    check_ending,
    ending_of,
    tell_cost,
    wait_for_end,
)
from tinker_actors.clients.handle import ended_error
from tinker_actors.clients.local_door import Visit
from tinker_actors.errors import DeadlineExceededError, WouldDeadlockError
from tinker_actors.loading import load
from tinker_actors.runtime import forks
from tinker_actors.runtime.actor import logger, tell
from tinker_actors.runtime.actor_ref import RuntimeRef
from tinker_actors.runtime.forks import check_not_forked
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.threads import on_own_thread

_FAREWELL = 10.0  # seconds on top of the time for what is in flight, before closing goes on without the actors


class Lifetime:
    """Base of the service client: what ends it, and what it refuses then. Thread-safe."""

    actor_ref: RuntimeRef[Any]
    _service: Service
    _visit: Visit | None
    _finalizer: weakref.finalize[..., Any]

    def close(self, status: Status = "success", detail: str | None = None, *, timeout: float = DRAIN) -> None:
        """End the service: take nothing new, finish what is in flight, tell the server, stop the actors.

        What was called is finished, whoever still holds a handle. What is not finished in time fails with
        `ClientClosedError`, and a warning says how much that was; after a few seconds of waiting, one says what is
        waited for. A second call waits for the end, too; of several, the earliest deadline holds. An interrupt ends the
        waiting for what is in flight, not the service.

        Args:
            status: told to the server.
            detail: a sentence about it, told to the server.
            timeout: seconds to wait for what is in flight. Telling the server takes what is left of them, 5 s at most
                and a second at least, if it does not answer.

        Raises:
            WouldDeadlockError: called on one of the runtime's own threads; the service stays open.
            InvalidInputError: another status, a detail that can't be sent, or no number; the service stays open.
        """
        check_ending(status, detail, timeout)
        service = self._service
        check_not_forked("close", service.epoch)
        if not service.over.done() and on_own_thread():
            raise WouldDeadlockError("Closed a service on a thread of the runtime.")
        try:
            wait_for_end(self._shut(status, detail, timeout), service, timeout, _FAREWELL)
        except DeadlineExceededError:
            logger.warning("The service could not be ended within %g s", timeout + _FAREWELL)
        except BaseException:
            with contextlib.suppress(DeadlineExceededError):
                wait_for_end(self._shut(status, detail, 0.0), service, 0.0, _FAREWELL)
            raise
        finally:
            if service.over.done():
                if self._finalizer.detach() is not None:  # nobody else was here
                    tell_cost(service)
                if self._visit is not None:
                    self._visit.leave(wait=True)

    def _close_future(
        self, status: Status = "success", detail: str | None = None, *, timeout: float = DRAIN
    ) -> APIFuture[None]:
        load("tinker_actors.runtime.derived")
        from tinker_actors.runtime.derived import in_thread  # noqa: PLC0415 - for proxies only

        check_ending(status, detail, timeout)
        check_not_forked("close", self._service.epoch)
        self._shut(status, detail, timeout)  # from here on nothing new is taken, wherever the rest has got to
        return in_thread("close", lambda: self.close(status, detail, timeout=timeout))

    def _shut(self, status: Status, detail: str | None, timeout: float) -> APIFuture[None]:
        """Take nothing new, and have what is in flight finished; return the future of the service's end."""
        begin_end(self._service)
        tell(self.actor_ref, Close(status, detail, timeout))
        return self._service.over

    @property
    def closed(self) -> bool:
        """Whether nothing can be called any more: `close` was called, or the supervisor has ended."""
        return self._service.ended is not None

    def _check_open(self, what: str) -> None:
        service = self._service
        if service.epoch != forks.epoch:
            check_not_forked(what, service.epoch)
        if service.ended is not None:
            raise ended_error(what, service.ended)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._leave(kind, error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        import asyncio  # noqa: PLC0415 - only for those who use it

        await asyncio.to_thread(self._leave, kind, error)

    def _leave(self, kind: type[BaseException] | None, error: BaseException | None) -> None:
        if self._service.epoch != forks.epoch:
            return  # a forked child leaves the block; the service is its parent's
        status, detail, timeout = ending_of(kind, error)
        self.close(status, detail, timeout=timeout)
