"""Request ids: each names one operation, so an id that another one has is another's answer.

That happens where an answer comes twice on a connection, or in another's place. Believed, it would give one caller the
result of another.
"""

from __future__ import annotations

# Ended ids remembered at least; an answer that comes twice comes soon.
_REMEMBERED = 4096
_NEVER = float("-inf")


class RequestIds:
    """The ids of operations that are not finished, and of those that ended lately. For one thread, without a clock."""

    __slots__ = ("_before", "_ended", "_unfinished")

    def __init__(self) -> None:
        self._unfinished: set[str] = set()
        # When each ended; the two halves take turns.
        self._ended: dict[str, float] = {}
        self._before: dict[str, float] = {}

    def take(self, request_id: str, asked: float) -> bool:
        """Note an id as that of an operation; return False when it is another's.

        Args:
            request_id: the id.
            asked: when the operation was sent first. Who had the id until later than that had it for himself.
        """
        ended = self._ended.get(request_id) or self._before.get(request_id, _NEVER)
        if request_id in self._unfinished or ended > asked:
            return False
        self._unfinished.add(request_id)
        return True

    def end(self, request_id: str, now: float) -> None:
        """Note that the operation of an id has ended."""
        self._unfinished.discard(request_id)
        self._ended[request_id] = now
        if len(self._ended) >= _REMEMBERED:
            self._before, self._ended = self._ended, {}

    def free(self, request_id: str) -> None:
        """Note that the server forgot an id: its operation is asked for anew."""
        self._unfinished.discard(request_id)
