"""Request ids: each names one operation, so an id that another one has is another's answer.

That happens where an answer comes twice on a connection, or in another's place. Believed, it would give one caller the
result of another.
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")

# Ended ids remembered at least; an answer that comes twice comes soon.
_REMEMBERED = 4096
_NEVER = float("-inf")
# So many different ids in a row, and a server may be trusted, also one that mixed them up before.
_TRUSTED_AFTER = 64
_DUE = 1


class RequestIds(Generic[T]):
    """The ids of operations that are not finished, and of those that ended lately. For one thread, without a clock.

    Attributes:
        doubted: how many different ids the server still has to give before it may be trusted, and 1; 0 while it is.
        mixed: whether it gave one twice, and is not trusted since.
    """

    __slots__ = ("_before", "_ended", "_unfinished", "doubted", "mixed")

    def __init__(self) -> None:
        self._unfinished: dict[str, T] = {}
        # When each ended; the two halves take turns.
        self._ended: dict[str, float] = {}
        self._before: dict[str, float] = {}
        self.doubted = _TRUSTED_AFTER + _DUE
        self.mixed = False

    def take(self, request_id: str, asked: float, who: T) -> bool:
        """Note an id as that of an operation; return False when it is another's.

        Args:
            request_id: the id.
            asked: when the operation was sent first. Who had the id until later than that had it for himself.
            who: the operation.
        """
        ended = self._ended.get(request_id) or self._before.get(request_id, _NEVER)
        if request_id in self._unfinished or ended > asked:
            self.doubted, self.mixed = _TRUSTED_AFTER + _DUE, True
            return False
        self._unfinished[request_id] = who
        if self.doubted > _DUE:
            self.doubted -= 1
        return True

    @property
    def due(self) -> bool:
        """Whether the server gave enough different ids. What it has not answered yet it may still mix up."""
        return self.doubted == _DUE

    def trust(self) -> None:
        """Trust the server: what was out when trust was due is answered, and none of it was mixed up."""
        self.doubted, self.mixed = 0, False

    def whose(self, request_id: str) -> T | None:
        """Return the unfinished operation that has an id, or None."""
        return self._unfinished.get(request_id)

    def end(self, request_id: str, now: float) -> None:
        """Note that the operation of an id has ended, or has it no longer: nobody who asked before now may have it."""
        self._unfinished.pop(request_id, None)
        self._ended[request_id] = now
        if len(self._ended) >= _REMEMBERED:
            self._before, self._ended = self._ended, {}

    def free(self, request_id: str) -> None:
        """Note that the server forgot an id: its operation is asked for anew."""
        self._unfinished.pop(request_id, None)
