"""The standard library's side of a future, for the price of an attribute.

`concurrent.futures.Future` makes a condition and several lists for each future, which is 1.4 kB and several
microseconds, and most of it is never asked for. This class keeps what `wait`, `as_completed`, `wrap_future` and `repr`
rely on: a state, and, once one of them asks, a lock and a list of waiters.

The outcome is set without a lock (see `outcome.py`). Only the library's own functions hold one; what they see of the
state stands still meanwhile.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
from _thread import RLock  # the class; `threading.RLock` is a function that asks each time which one to take
from concurrent.futures import _base as states
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tinker_actors.runtime.outcome import UNDECIDED, Decidable, Outcome

T = TypeVar("T")

_CANCELLED = (states.CANCELLED, states.CANCELLED_AND_NOTIFIED)


class LibraryFuture(Decidable, concurrent.futures.Future[T], Generic[T]):
    """A future that is running from birth and is settled by the class that derives from it."""

    _library: _LibrarySide | None = None

    def __init__(self) -> None:
        """Leave out what the library makes: see the module."""

    if not TYPE_CHECKING:  # to type checkers these are the library's attributes, which its `as_completed` asks for

        @property
        def _condition(self) -> Any:
            """The lock that `concurrent.futures` holds while it looks at the state and leaves word."""
            return self.__dict__.setdefault("_library", _LibrarySide(self))

        @property
        def _waiters(self) -> Any:
            """Where `concurrent.futures.wait` and `as_completed` leave word. They hold the lock meanwhile."""
            return self._condition

        @property
        def _state(self) -> str:
            side = self._library
            return ((self._outcome if side is None or not side.depth else side.seen) or UNDECIDED)[0]

    @property
    def _result(self) -> Any:  # type: ignore[override]
        return (self._outcome or UNDECIDED)[1]

    @property
    def _exception(self) -> BaseException | None:  # type: ignore[override]
        return (self._outcome or UNDECIDED)[2]

    def done(self) -> bool:
        """Return whether there is an outcome."""
        return self._outcome is not None

    def running(self) -> bool:
        """Return whether there is none yet: the operation is under way from birth."""
        return self._outcome is None

    def cancelled(self) -> bool:
        """Return whether the future was cancelled."""
        return (self._outcome or UNDECIDED)[0] in _CANCELLED

    def set_result(self, _: Any) -> None:
        """Refuse: only the runtime settles its futures."""
        raise concurrent.futures.InvalidStateError("The outcome of an APIFuture is set by the runtime only.")

    def set_exception(self, _: BaseException | None) -> None:
        """Refuse: only the runtime settles its futures."""
        raise concurrent.futures.InvalidStateError("The outcome of an APIFuture is set by the runtime only.")


class _LibrarySide(list[Any]):
    """A future as `concurrent.futures` sees it: a lock, and the list of those who wait by the library's means.

    Attributes:
        depth: how often the lock is held, by whichever thread has it.
        seen: the outcome as it was when the lock was taken.
    """

    def __init__(self, future: LibraryFuture[Any]) -> None:
        super().__init__()
        self._future = future
        self._lock = RLock()  # reentrant, because `repr` takes it too
        self._untold: list[Any] = []
        self.depth = 0
        self.seen: Outcome | None = None

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock, and have the outcome stand still for who looks."""
        taken = self._lock.acquire(blocking, timeout)
        if taken:
            if not self.depth:
                self.seen = self._future._outcome
            self.depth += 1
        return taken

    def release(self) -> None:
        """Give the lock back, and tell those of the outcome who came while it was set."""
        self.depth -= 1
        self._lock.release()
        if self._future._outcome is not None:
            self.tell()

    __enter__ = acquire

    def __exit__(self, *_: object) -> None:
        self.release()

    def append(self, waiter: Any) -> None:
        """Take a waiter in; who has seen the outcome knows it."""
        super().append(waiter)
        if self.seen is None:
            self._untold.append(waiter)

    def tell(self) -> None:
        """Tell the outcome to everybody who was not told. Each is told once, whichever threads are here at a time."""
        future = self._future
        while self._untold:
            with contextlib.suppress(IndexError):  # another thread had it
                _tell(self._untold.pop(), future)  # in one line: who is interrupted here leaves nobody out


def _tell(waiter: Any, future: LibraryFuture[Any]) -> None:
    if future.cancelled():
        waiter.add_cancelled(future)
    elif future._exception is not None:
        waiter.add_exception(future)
    else:
        waiter.add_result(future)
