"""Quiet: a log that says the same thing a few times a minute, however often it happens.

What clients can cause without end (no descriptor left, nonsense instead of requests) would fill the disk.
"""

from __future__ import annotations

import logging

REPEATS = 5
"""Records of one kind in a minute; a kind is a logger, a level and a message before its values are put in."""

_MINUTE = 60.0
_MOST_KINDS = 1000


class Quiet(logging.Filter):
    """Lets a few records of a kind through in a minute; the next one that comes later says how many were left out.

    Records below WARNING pass: whoever switches them on wants them. Used under its handler's lock.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[tuple[str, int, str], tuple[float, int]] = {}  # since when, how many

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is to be written."""
        if record.levelno < logging.WARNING:
            return True
        kind = record.name, record.levelno, str(record.msg)
        since, count = self._kinds.get(kind, (record.created, 0))
        if record.created - since >= _MINUTE:
            if count > REPEATS:
                record.msg = f"{record.msg} ({count - REPEATS} more like this were left out)"
            since, count = record.created, 0
        if len(self._kinds) >= _MOST_KINDS and kind not in self._kinds:
            self._kinds.clear()
        self._kinds[kind] = since, count + 1
        return count < REPEATS
