"""The standard library's side of a future, for the price of a lock.

`concurrent.futures.Future` makes a condition and several lists for each future, which is 1.4 kB and several
microseconds, and most of it is never asked for. This class keeps what `wait`, `as_completed`, `wrap_future`
and `repr` rely on: a lock that is taken as `_condition`, the state, and a list of waiters once there is one.
"""

from __future__ import annotations

import concurrent.futures
from _thread import RLock  # the class; `threading.RLock` is a function that asks each time which one to take
from concurrent.futures import _base as states
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_CANCELLED = (states.CANCELLED, states.CANCELLED_AND_NOTIFIED)
DECIDED = (states.FINISHED, *_CANCELLED)


class LibraryFuture(concurrent.futures.Future[T], Generic[T]):
    """A future that is running from birth and is settled by the class that derives from it."""

    def __init__(self) -> None:
        # Reentrant, because `repr` takes it too. The library itself never waits on it: whoever waits has his own means.
        self._condition = RLock()  # type: ignore[assignment]
        self._state = states.RUNNING
        self._result: Any = None
        self._exception: Exception | None = None
        self._library_waiters: list[Any] | None = None

    @property
    def _waiters(self) -> list[Any]:  # type: ignore[override]
        """Where `concurrent.futures.wait` and `as_completed` leave word. They hold the condition meanwhile."""
        if self._library_waiters is None:
            self._library_waiters = []
        return self._library_waiters

    def done(self) -> bool:
        """Return whether there is an outcome."""
        return self._state in DECIDED

    def running(self) -> bool:
        """Return whether there is none yet: the operation is under way from birth."""
        return self._state == states.RUNNING

    def cancelled(self) -> bool:
        """Return whether the future was cancelled."""
        return self._state in _CANCELLED

    def set_result(self, _: Any) -> None:
        """Refuse: only the runtime settles its futures."""
        raise concurrent.futures.InvalidStateError("The outcome of an APIFuture is set by the runtime only.")

    def set_exception(self, _: BaseException | None) -> None:
        """Refuse: only the runtime settles its futures."""
        raise concurrent.futures.InvalidStateError("The outcome of an APIFuture is set by the runtime only.")

    def _tell_library(self, waiters: list[Any]) -> None:
        """Do what the standard library's futures do for `wait` and `as_completed`."""
        for waiter in waiters:
            if self._state == states.CANCELLED_AND_NOTIFIED:
                waiter.add_cancelled(self)
            elif self._exception is not None:
                waiter.add_exception(self)
            else:
                waiter.add_result(self)
