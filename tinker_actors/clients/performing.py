"""Performing: how what is called on a model reaches its actor."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from tinker_actors.actors.messages import Barrier, DescribeModel, Perform
from tinker_actors.actors.model.operation import settle_error
from tinker_actors.actors.model.published import TrainingState
from tinker_actors.actors.service import Service
from tinker_actors.clients.handle import Handle, ended_error
from tinker_actors.protocol.requests import operations
from tinker_actors.runtime.actor import Ref, tell
from tinker_actors.runtime.actor_ref import RuntimeRef
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.progress import Tracker
from tinker_actors.runtime.unfinished import unfinished

if TYPE_CHECKING:
    from tinker_actors.clients.service import ServiceClient

T = TypeVar("T")


class Performing(Handle):
    """Base of what tells a training actor to perform operations. Thread-safe."""

    def __init__(
        self,
        service: Service,
        actor_ref: RuntimeRef[Any],
        ready: APIFuture[Any],
        keeper: ServiceClient,
        state: TrainingState,
    ) -> None:
        super().__init__(actor_ref, ready)
        self._service = service
        self._keeper = keeper
        self._state = state

    def _perform(
        self,
        operation: operations.Operation,
        decode: Callable[[tuple[Any, ...]], T],
        sampler: Ref | None = None,
    ) -> APIFuture[T]:
        self._keeper._check_open(operation.name)
        future = self._future(operation.name, decode)
        if operation.name != "forward":  # which changes nothing on the server
            unfinished.watch(future)
        self._tell(Perform(operation, future, sampler))
        return future

    def _future(
        self, what: str, decode: Callable[[Any], T] | None = None, tracker: Tracker | None = None
    ) -> APIFuture[T]:
        service = self._service
        return APIFuture(tracker or service.tracker(what), decode=decode, delivery=service.platform.delivery)

    def _tell(self, message: Perform | DescribeModel | Barrier) -> None:
        performs = list(message.all()) if isinstance(message, Perform) else []
        if not tell(self.actor_ref, message):
            error = ended_error(message.future._tracker.what, self._state.ended or self._service.ended)
            for each in performs:
                settle_error(each, error)
            message.future._settle(error=error)
        # Behind the telling: a step that was counted and not told would leave samples waiting for it.
        elif any(each.operation.step for each in performs):
            self._state.count_step()


def first(results: tuple[Any, ...]) -> Any:
    """Return the result of an operation that is one request."""
    return results[0]
