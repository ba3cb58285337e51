"""The snapshot: state that one actor writes and any thread reads without waiting.

The writer never changes a mapping it has published; it builds the next one and rebinds one attribute. A reader takes
the attribute once and then looks at one consistent state for as long as it likes. No lock is involved, because
rebinding an attribute is atomic in CPython.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from types import MappingProxyType
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Snapshot(Generic[K, V]):
    """A published mapping.

    Attributes:
        current: the newest published state, read-only. Readable from any thread.
    """

    __slots__ = ("_published", "current")

    def __init__(self) -> None:
        self._publish({})

    def put(self, key: K, value: V) -> None:
        """Publish a state in which `key` has `value`. Only by the one writer."""
        self.change({key: value})

    def remove(self, key: K) -> None:
        """Publish a state without `key`; nothing happens when it is not there. Only by the one writer."""
        self.change({}, (key,))

    def change(self, values: Mapping[K, V], gone: Iterable[K] = ()) -> None:
        """Publish one state with new values and without what is gone. Only by the one writer."""
        found = [key for key in gone if key in self._published]
        if not values and not found:
            return
        following = self._published.copy()  # a dict copies a dict by its table; through the proxy it would go by keys
        following.update(values)
        for key in found:
            del following[key]
        self._publish(following)

    def _publish(self, state: dict[K, V]) -> None:
        self._published = state
        self.current: Mapping[K, V] = MappingProxyType(state)
