"""The past: what is over and still remembered, within bounds on how much that is."""

from __future__ import annotations


class Past:
    """Names of what is over, the one that ended first comes first.

    Args:
        most: how many are remembered.
        most_bytes: how many bytes what is remembered of them may take.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._sizes: dict[str, int] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._sizes)

    def __contains__(self, name: str) -> bool:
        return name in self._sizes

    def add(self, name: str, size: int) -> list[str]:
        """Add what has just ended, unless it is known.

        Returns:
            What is to be forgotten for it, and is not remembered here any more.
        """
        if name in self._sizes:
            return []
        self._sizes[name] = size
        self._bytes += size
        forgotten = []
        while len(self._sizes) > 1 and (len(self._sizes) > self._most or self._bytes > self._most_bytes):
            oldest = next(iter(self._sizes))
            self._bytes -= self._sizes.pop(oldest)
            forgotten.append(oldest)
        return forgotten
