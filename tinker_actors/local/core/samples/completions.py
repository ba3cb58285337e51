"""Completions: which samples of a sampler are over, told in the order in which they ended (wire protocol 5.5).

A client that asks here holds one request instead of one for each sample. Clones of a client number their samples in
ranges of their own, and each hears of its own samples only.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tinker_actors.local.core.futures import Future

CLONE_RANGE = 1_000_000_000
"""Numbers per clone: a sample's clone is its `seq_id` divided by this."""


class Ended(msgspec.Struct, frozen=True):
    """A sample that is over: its number in the order of ends, and what a client needs to fetch it."""

    cursor: int
    request_id: str
    said: dict[str, Any]


class Completions:
    """The samples of one clone that are over and of which its client may not know yet.

    Attributes:
        name: under which those who wait are told that there is news.
        asked: whether a client has ever asked.

    Args:
        name: see above.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked = False
        self._count = 0
        self._ended: dict[str, Ended] = {}  # by request id; insertion order is the order of ends

    def __len__(self) -> int:
        return len(self._ended)

    def add(self, future: Future) -> None:
        """Note that a sample is over."""
        self._count += 1
        said: dict[str, Any] = {"state": "failed", "request_id": future.request_id}
        if future.succeeded:
            said |= {"state": "finished", "response_payload_uncompressed_size": len(future.body)}
        self._ended[future.request_id] = Ended(self._count, future.request_id, said)

    def forget(self, request_id: str) -> None:
        """Note that a result is no longer kept.

        Who has asked before is still told of it, because it waits for nothing else; who never asks would let the list
        grow without end.
        """
        if not self.asked:
            self._ended.pop(request_id, None)

    def trim(self, cursor: int) -> None:
        """Forget what was told up to a cursor."""
        for ended in list(self._ended.values()):
            if ended.cursor > cursor:
                break
            del self._ended[ended.request_id]

    def after(self, cursor: int) -> tuple[list[dict[str, Any]], int]:
        """Return what has ended behind a cursor, and the cursor behind that."""
        found = [ended for ended in self._ended.values() if ended.cursor > cursor]
        return [ended.said for ended in found], found[-1].cursor if found else cursor
