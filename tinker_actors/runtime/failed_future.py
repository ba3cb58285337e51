"""The side of a future that fails: whether somebody has seen it, and which operations a failure cost."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from tinker_actors.runtime import forks
from tinker_actors.runtime.delivery import default_delivery
from tinker_actors.runtime.library_future import LibraryFuture
from tinker_actors.runtime.progress import Tracker
from tinker_actors.runtime.staying import Staying
from tinker_actors.runtime.unseen import Unseen, cost_of

T = TypeVar("T")


class FailedFuture(Staying, LibraryFuture[T], Generic[T]):
    """Base of a future that logs its failure when nobody has looked at it."""

    _elsewhere = "Pickle what its result() returns."

    _tracker: Tracker
    _epoch: int
    # In an instance only what is needed there.
    _looked_at = False
    _counted = True  # whether it is an operation of its own, not a part or the sum of others
    _missed = False  # whether it is told of when the program ends before it is decided; see `unfinished`
    _noted: object = None

    def _note_failure(self, error: BaseException) -> None:
        """Count what the failure cost; of several calls the first does it."""
        unseen.watch()
        cost, me = cost_of(error), object()
        if cost is not None and self._counted and self.__dict__.setdefault("_noted", me) is me:
            cost.append(self._tracker.what)

    def _failed_unseen(self) -> tuple[str, BaseException] | None:
        """Return the operation and its failure if there is one that nobody has looked at, and count it as seen."""
        error = self._exception
        if error is None or self._looked_at or self._epoch != forks.epoch:
            return None
        self._looked_at = True
        return self._tracker.what, error

    def __del__(self) -> None:
        if self._looked_at:  # nearly all, so nothing more is asked of them
            return
        failed = self._failed_unseen()
        if failed is not None:
            unseen.note(*failed)


def _left() -> Iterator[tuple[str, BaseException]]:
    """Find the failures that nobody has looked at in the futures that are not freed."""
    future: Any
    for future in gc.get_objects():
        # By its true class: proxies of other libraries claim to be of any.
        if issubclass(type(future), FailedFuture):
            failed = future._failed_unseen()
            if failed is not None:
                yield failed


unseen = Unseen(default_delivery, _left)

forks.on_fork(unseen.begin_anew)
