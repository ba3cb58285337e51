"""pykka's side of a future: `map`, `filter`, `join` and `reduce` give futures of what is made of results.

As in pykka, the function that is given runs when the result is first read, in the thread or event loop that reads it,
and not at all when nobody does. Unlike in pykka, it runs once whatever it raises, and what these methods give is an
`APIFuture` like any other: it can be awaited, given callbacks, piped, and cancelled where its source can.
"""

from __future__ import annotations

import concurrent.futures
import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Protocol, TypeVar

import pykka

from tinker_actors.loading import load

if TYPE_CHECKING:
    from tinker_actors.runtime.futures import APIFuture

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
J = TypeVar("J")
M = TypeVar("M")
R = TypeVar("R")


class Gives(Protocol[T_co]):
    """Whatever gives a result in pykka's words."""

    def get(self, *, timeout: float | None = None) -> T_co:
        """Wait for the result and return it."""
        ...


class PykkaFuture(pykka.Future[T], Generic[T]):
    """Base of a future that is pykka's, too. Thread-safe."""

    # pykka's futures can be iterated over, which waits for them in an event loop. `await` does that here.
    __iter__ = None  # type: ignore[assignment]

    def map(self, func: Callable[[T], M]) -> APIFuture[M]:
        """Return a future of `func(result)`. It fails as this one does, or with what `func` raises."""
        return _made_of([self], lambda results: func(results[0]))

    def filter(self: Gives[Iterable[J]], func: Callable[[J], bool]) -> APIFuture[list[J]]:  # type: ignore[override]
        """Return a future of the items of the result for which `func` is true; a `TypeError` where it has none."""
        return _made_of([self], lambda results: [item for item in results[0] if func(item)])

    def join(self, *futures: pykka.Future[Any]) -> APIFuture[list[Any]]:  # type: ignore[override]
        """Return a future of the results of this one and others, in this order.

        It fails as the first of them that fails, in this order; the others go on.

        Args:
            futures: of this package or of other actors of pykka's. For each of the latter that is waited for there is a
                thread, since pykka tells nobody when it is done.

        Raises:
            TypeError: something that is no future of pykka's.
        """
        return _made_of([self, *futures], list)

    def reduce(self: Gives[Iterable[J]], func: Callable[[R, J], R], *args: R) -> APIFuture[R]:
        """Return a future of the items of the result, put together from left to right.

        Args:
            func: puts what there is so far and an item together.
            *args: what it begins with, if not with the first item.
        """
        return _made_of([self], lambda results: functools.reduce(func, results[0], *args))

    def set(self, _: Any = None) -> NoReturn:
        """Refuse: only the runtime settles its futures."""
        raise concurrent.futures.InvalidStateError("The outcome of an APIFuture is set by the runtime only.")

    def set_get_hook(self, _: Any) -> NoReturn:
        """Refuse: only the runtime settles its futures."""
        raise concurrent.futures.InvalidStateError("The outcome of an APIFuture is set by the runtime only.")


def _made_of(sources: list[Any], make: Callable[[list[Any]], M]) -> APIFuture[M]:
    load("tinker_actors.runtime.derived")
    from tinker_actors.runtime.derived import Derived  # noqa: PLC0415 - only for those who use it; it needs our users

    return Derived(sources, make)
