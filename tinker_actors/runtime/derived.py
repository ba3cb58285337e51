"""Derived futures: made of the results of others, by whoever reads them first.

A derived future watches its sources one after the other, in the order in which pykka's `join` waits for them, and is
decided with the first that fails or with the last. Nothing of the user's runs then: the results are read and the
function is called when the derived future is read.

Whoever looks at the failure of a derived future has seen that of its source; where nobody does, the source reports it.
"""

from __future__ import annotations

import threading
from _thread import start_new_thread
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import _base as states
from typing import Any, Generic, TypeVar

import pykka

from tinker_actors.runtime import forks
from tinker_actors.runtime.clock import MonotonicClock
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.progress import Tracker

T = TypeVar("T")


class Derived(APIFuture[T], Generic[T]):
    """A future of what is made of the results of others.

    Its progress is that of the source that it waits for. Cancelling it, or the last task that awaits it, cancels the
    sources that can be cancelled and that nobody else waits for.

    Args:
        sources: futures of this package, or others of pykka's.
        make: given the list of their results; run once, by the first reader.

    Raises:
        TypeError: something that is no future of pykka's.
    """

    def __init__(self, sources: Iterable[Any], make: Callable[[list[Any]], T]) -> None:
        taken = [_taken(source) for source in sources]
        super().__init__(
            taken[0]._tracker,
            decode=lambda _: make([source.result(0) for source in taken]),
            on_cancel=self._let_go if any(source._on_cancel is not None for source in taken) else None,
            delivery=taken[0]._delivery,
        )
        self._counted, self._looked_at = False, True  # that is the sources' affair
        self._failed: APIFuture[Any] | None = None
        self._sources: Sequence[APIFuture[Any]] = taken
        self._at = 0
        # Its own: what is read under it may be derived, too, and locks that are shared would wait for each other.
        self._reading = threading.RLock()
        self._go_on()

    @property
    def accepted(self) -> APIFuture[str | None]:
        """A future of the moment at which the server has accepted all that this is made of; see `APIFuture.accepted`.

        Settled with the request id of the last.
        """
        sources = self._sources
        if self._accepted is None and sources and self._epoch == forks.epoch:
            made = Derived([source.accepted for source in sources], lambda ids: ids[-1])
            self.__dict__.setdefault("_accepted", made)
        return super().accepted

    def _go_on(self) -> None:
        """Look at the sources from where it stopped. On whatever thread decides them, maybe on two at a time."""
        sources = self._sources
        for at in range(self._at, len(sources)):
            source = sources[at]
            self._at, self._tracker = at, source._tracker
            if source._outcome is None:
                source._watch(self._go_on)
                return
            state, _, error = source._outcome
            if state != states.FINISHED:
                self._finish((states.CANCELLED_AND_NOTIFIED, None, None))
                return
            if error is not None:
                self._failed = source
                self._settle(error=error)
                return
        self._settle()

    def _let_go(self, _: APIFuture[T]) -> None:
        """Want the sources no more."""
        for source in self._sources:
            source._unwatch(self._go_on)
            if source._outcome is None and not (source._watchers or source._library):
                source.cancel()

    def _tell(self) -> None:
        """Note that the user is given the failure: that of the source."""
        if self._failed is not None:
            self._failed._looked_at = True
            self._failed._tell()

    def _note_end(self) -> None:
        """Hold the sources no longer than their results are needed. The tracker is theirs."""
        self._sources = ()

    def _decode_once(self) -> None:
        # In one line: an interrupt leaves it before or behind.
        with self._reading: self._decode_now()  # noqa: E701  # fmt: skip

    def _inherit(self) -> None:
        self._reading = threading.RLock()  # a thread of the parent may have held it
        super()._inherit()


def in_thread(what: str, function: Callable[[], T]) -> APIFuture[T]:
    """Return a future of what a function returns or raises, which runs in a thread of its own: it may wait.

    The thread ends with the process at the latest, and is none of the runtime's own: the function may wait for whatever
    there is.

    Args:
        what: what the future is of.
        function: what runs.

    Raises:
        RuntimeError: the process can't have another thread.
    """
    future: APIFuture[T] = APIFuture(Tracker(what, MonotonicClock().now()))

    def run() -> None:
        try:
            value = function()
        except BaseException as error:
            future._settle(error=error)
        else:
            future._settle(value)

    # Not `threading.Thread`: its `start` holds a lock that the new thread needs, also where a signal handler that comes
    # in between starts another one, and waits for it.
    start_new_thread(run, ())
    return future


def _taken(source: Any) -> APIFuture[Any]:
    if isinstance(source, APIFuture):
        return source
    if isinstance(source, pykka.Future):
        waiting = in_thread("join", source.get)
        waiting._looked_at = True  # pykka has others look at its failures, or nobody
        return waiting
    raise TypeError(f"{source!r} is no future of pykka's.")
