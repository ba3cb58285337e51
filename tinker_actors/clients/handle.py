"""Handles: what all clients have in common.

A handle is usable at once: creating the thing behind it is the first message to its actor. `result()` and `await`
wait for that and answer with the handle itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from typing import Any, Self

from tinker_actors.actors.service import Service
from tinker_actors.clients.questions import checked_timeout, limited
from tinker_actors.errors import ClientClosedError, TinkerError, fresh
from tinker_actors.runtime.actor_ref import RuntimeRef
from tinker_actors.runtime.futures import APIFuture


class Handle(ABC):
    """Base of the clients that stand for something on the server.

    Attributes:
        actor_ref: the pykka reference of the actor behind the handle. Its `proxy()` is that of this handle.
    """

    actor_ref: RuntimeRef[Any]
    _service: Service

    def __init__(self, actor_ref: RuntimeRef[Any], ready: APIFuture[Any]) -> None:
        self.actor_ref = actor_ref
        actor_ref.represent(self)
        self._ready = ready
        # The failure also fails every operation; nobody has to look at this future to hear of it.
        ready._looked_at = True

    def result(self, timeout: float | None = None) -> Self:
        """Wait until the server has made it, and return this handle. Not on the runtime's own threads.

        Args:
            timeout: seconds to wait; None waits as long as creation is tried.

        Raises:
            DeadlineExceededError: `timeout` is over; creation goes on.
            TinkerError: it could not be made. Every operation fails with the same error.
        """
        self._ready.result(timeout)
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        yield from self._ready.__await__()
        return self

    def done(self) -> bool:
        """Return whether creation is decided, well or badly. Never waits."""
        return self._ready.done()

    def add_done_callback(self, fn: Callable[[Self], object]) -> None:
        """Call `fn(handle)` when creation is decided, on the delivery thread."""
        self._ready.add_done_callback(lambda _: fn(self))

    @abstractmethod
    def proxy(self) -> Any:
        """Return a proxy: pykka's way to call, with futures that flatten. Thread-safe."""

    def _result_future(self, timeout: float | None = None) -> APIFuture[Self]:
        timeout = checked_timeout(timeout)
        return limited(self._service, self._ready.map(lambda _: self), timeout)


def closed_error(what: str) -> ClientClosedError:
    """Return the error for a call on something that was closed."""
    return ClientClosedError(f"{what}: the service client was closed.")


def ended_error(what: str, ended: TinkerError | None) -> TinkerError:
    """Return the error for a call on something that has ended.

    Args:
        what: the call.
        ended: why, as far as that is known.
    """
    if ended is None:
        return ClientClosedError(f"{what}: the actor behind it has ended.", advice="Make a new one to go on.")
    error = fresh(ended)
    error.message = f"{what}: {ended.message[:1].lower()}{ended.message[1:]}"
    error.args = (error.message,)
    return error
