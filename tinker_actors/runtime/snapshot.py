"""The snapshot: state that one actor writes and any thread reads without waiting.

The writer never changes a mapping it has published; it builds the next one and rebinds one attribute. A reader takes
the attribute once and then looks at one consistent state for as long as it likes. No lock is involved, because
rebinding an attribute is atomic in CPython.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from types import MappingProxyType
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Snapshot(Generic[K, V]):
    """A published mapping.

    Attributes:
        current: the newest published state, read-only. Readable from any thread.
    """

    __slots__ = ("current",)

    def __init__(self) -> None:
        self.current: Mapping[K, V] = MappingProxyType({})

    def put(self, key: K, value: V) -> None:
        """Publish a state in which `key` has `value`. Only by the one writer."""
        self.current = MappingProxyType({**self.current, key: value})

    def remove(self, key: K) -> None:
        """Publish a state without `key`; nothing happens when it is not there. Only by the one writer."""
        if key in self.current:
            self.current = MappingProxyType({k: v for k, v in self.current.items() if k != key})
