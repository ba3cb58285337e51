"""Result rows: finished futures as rows of a table, numbered as they come, and how many there is room for.

Bodies are most of it, so the oldest bodies go first; their rows stay, to say that there was such a request, until there
are too many of those as well.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from tinker_actors.local.core.keeping import FutureRecord

_INSERT = "INSERT INTO futures VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

_SPARE = 8
"""When room is made, this part of the limit is freed, so that it is not made for every single row."""

_COUNTS = ("result_bytes", "first_body")


def row_of(number: int, record: FutureRecord) -> tuple[Any, ...]:
    """Return a future's row."""
    body = record.body or b""
    kept = (record.request_id, record.kind, record.owner, record.session_id, record.model_id, record.seq_id)
    return (number, *kept, record.digest, record.failed, len(body), body)


def future_of(row: Sequence[Any]) -> FutureRecord:
    """Return the future of a row: request_id, kind, owner, session_id, model_id, seq_id, digest, failed, body."""
    request_id, kind, owner, session_id, model_id, seq_id, digest, failed, body = row
    return FutureRecord(
        request_id=request_id,
        kind=kind,
        owner=owner,
        session_id=session_id,
        model_id=model_id,
        seq_id=seq_id,
        digest=digest,
        failed=bool(failed),
        body=body,
    )


class Room:
    """How much is kept. For use inside transactions, by one thread at a time.

    Args:
        connection: writes.
        most_bytes: of bodies together.
        most_rows: of futures.
    """

    def __init__(self, connection: sqlite3.Connection, most_bytes: int, most_rows: int) -> None:
        self._connection = connection
        self._most_bytes = most_bytes
        self._most_rows = most_rows
        self.read()

    def read(self) -> None:
        """Read how much there is; needed again after a transaction that came to nothing."""
        counts = dict(self._connection.execute("SELECT name, value FROM counts"))
        self._counts: dict[str, int] = {name: counts.get(name, 0) for name in _COUNTS}
        first, last = self._connection.execute("SELECT min(number), max(number) FROM futures").fetchone()
        self._next = 1 if last is None else last + 1
        self._first = self._next if first is None else first

    def insert(self, futures: Sequence[FutureRecord]) -> None:
        """Add futures, and drop the oldest bodies and rows if there are too many. The newest body stays in any case."""
        self._connection.executemany(_INSERT, map(row_of, range(self._next, self._next + len(futures)), futures))
        self._next += len(futures)
        self._set("result_bytes", self._counts["result_bytes"] + sum(len(record.body or b"") for record in futures))
        if self._counts["result_bytes"] > self._most_bytes:
            self._drop_bodies(self._most_bytes - self._most_bytes // _SPARE, self._next - 1)
        if self._next - self._first > self._most_rows:
            self._first = self._next - max(1, self._most_rows - self._most_rows // _SPARE)
            self._drop_bodies(self._counts["result_bytes"], self._first, at_least=self._first)
            self._connection.execute("DELETE FROM futures WHERE number < ?", (self._first,))

    def _drop_bodies(self, until: int, before: int, at_least: int = 0) -> None:
        """Drop bodies from the oldest on, until few enough bytes are left and all numbers below `at_least` are gone."""
        left, number = self._counts["result_bytes"], self._counts["first_body"]
        sizes = self._connection.execute(
            "SELECT number, size FROM futures WHERE number >= ? AND number < ? ORDER BY number", (number, before)
        )
        for at, size in sizes:
            if left <= until and at >= at_least:
                break
            left -= size
            number = at + 1
        self._connection.execute(
            "UPDATE futures SET body = NULL, size = 0 WHERE number >= ? AND number < ?",
            (self._counts["first_body"], number),
        )
        self._set("result_bytes", left)
        self._set("first_body", number)

    def _set(self, name: str, value: int) -> None:
        self._counts[name] = value
        self._connection.execute("REPLACE INTO counts VALUES (?, ?)", (name, value))
