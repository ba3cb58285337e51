"""The database: records in SQLite, written one transaction at a time.

A transaction in WAL mode without a flush survives a kill and costs about a tenth of a millisecond; with one it survives
a power failure too. Changes are either committed by the thread that brings them, or noted and committed by the next
transaction, whoever's it is: so the order of changes is the order on disk, and a burst of notes is one transaction.
"""

from __future__ import annotations

import itertools
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinker_actors.errors import ConfigError
from tinker_actors.local.core.keeping import FutureRecord
from tinker_actors.local.private import FILE_MODE, opened
from tinker_actors.local.store.result_rows import Room, future_of

VERSION = 2
"""Of the tables below; a database of another version is refused."""

Change = tuple[str, tuple[Any, ...]]
"""A statement and its values."""

_SCHEMA = """
CREATE TABLE sessions (session_id TEXT PRIMARY KEY, owner TEXT NOT NULL, record TEXT NOT NULL);
CREATE TABLE runs (run_id TEXT PRIMARY KEY, owner TEXT NOT NULL, record TEXT NOT NULL);
CREATE TABLE checkpoints (
    path TEXT PRIMARY KEY, run_id TEXT NOT NULL, owner TEXT NOT NULL, folder TEXT NOT NULL, record TEXT NOT NULL
);
CREATE TABLE futures (
    number INTEGER PRIMARY KEY, request_id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, owner TEXT NOT NULL,
    session_id TEXT, model_id TEXT, seq_id INTEGER, digest BLOB NOT NULL, failed INTEGER NOT NULL,
    size INTEGER NOT NULL, body BLOB
);
CREATE INDEX futures_by_seq_id ON futures (model_id, seq_id) WHERE seq_id IS NOT NULL;
CREATE TABLE counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""

_FUTURE = "SELECT request_id, kind, owner, session_id, model_id, seq_id, digest, failed, body FROM futures"


class Database:
    """An SQLite file and its two connections: one that writes and one that looks. Thread-safe.

    Args:
        path: the file; made if it is not there.
        result_bytes: most bytes of results that are kept; the oldest go first.
        futures: most futures that are remembered at all.

    Raises:
        ConfigError: the file was made by another version, or is no database.
    """

    def __init__(self, path: Path, *, result_bytes: int, futures: int) -> None:
        self._lock = threading.Lock()
        self._look_lock = threading.Lock()
        self._notes: deque[FutureRecord | Change] = deque()
        self._noted_bytes = self._written_bytes = 0  # of bodies; the first for who notes, the second below the lock
        try:
            self._writing = _connect(path)
            _prepare(self._writing, path)
        except sqlite3.DatabaseError as error:
            raise ConfigError(f"{path} can't be used: {error}") from error
        self._room = Room(self._writing, result_bytes, futures)
        self._looking = _connect(path)

    def commit(self, *changes: FutureRecord | Change, flush: bool = False) -> None:
        """Write changes, and those noted before them, all or none.

        Args:
            changes: what to write.
            flush: whether it must survive a power failure too; takes as long as the disk does.

        Raises:
            sqlite3.IntegrityError: one of them contradicts what is there.
            sqlite3.Error: the disk does not take it.
        """
        with self._lock:
            notes = self._take_notes()
            if not notes and not changes:
                return
            if flush:
                self._writing.execute("PRAGMA synchronous = FULL")
            try:
                self._transact([*notes, *changes])
            except BaseException:
                self._notes.extendleft(reversed(notes))
                raise
            else:
                self._written_bytes += sum(map(_body_bytes, notes))
            finally:
                if flush:
                    self._writing.execute("PRAGMA synchronous = NORMAL")

    def note_start(self) -> int:
        """Add one to the number of starts, and return what it was."""
        starts = [value for (value,) in self.rows("SELECT value FROM counts WHERE name = 'starts'")] or [0]
        self.commit(("REPLACE INTO counts VALUES ('starts', ?)", (starts[0] + 1,)), flush=True)
        return int(starts[0])

    def note(self, change: FutureRecord | Change) -> None:
        """Leave a change to the next transaction that succeeds."""
        self._noted_bytes += _body_bytes(change)
        self._notes.append(change)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the results that were noted and are not on disk."""
        return self._noted_bytes - self._written_bytes

    def rows(self, question: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return what has been committed. Does not wait for a transaction."""
        with self._look_lock:
            return self._looking.execute(question, values).fetchall()

    def find_future(self, request_id: str) -> FutureRecord | None:
        """Return a finished future."""
        found = self.rows(f"{_FUTURE} WHERE request_id = ?", (request_id,))
        return future_of(found[0]) if found else None

    def find_number(self, model_id: str, seq_id: int) -> FutureRecord | None:
        """Return a finished future by its number."""
        found = self.rows(
            f"{_FUTURE} WHERE model_id = ? AND seq_id = ? ORDER BY number DESC LIMIT 1", (model_id, seq_id)
        )
        return future_of(found[0]) if found else None

    def close(self) -> None:
        """Write what was noted, and close the file.

        Raises:
            sqlite3.Error: the disk does not take the notes; the file is closed all the same.
        """
        try:
            self.commit()
        finally:
            with self._lock, self._look_lock:
                self._looking.close()
                self._writing.close()

    def _take_notes(self) -> list[FutureRecord | Change]:
        notes = []
        while self._notes:
            notes.append(self._notes.popleft())
        return notes

    def _transact(self, batch: Sequence[FutureRecord | Change]) -> None:
        self._writing.execute("BEGIN IMMEDIATE")
        try:
            for is_future, changes in itertools.groupby(batch, lambda change: isinstance(change, FutureRecord)):
                if is_future:
                    self._room.insert(list(changes))  # type: ignore[arg-type]  # that is what they are
                else:
                    for change in changes:
                        self._writing.execute(*change)  # type: ignore[misc]  # as above
            self._writing.execute("COMMIT")
        except BaseException:
            if self._writing.in_transaction:  # SQLite has rolled back by itself where the disk was full or broken
                self._writing.execute("ROLLBACK")
            self._room.read()
            raise


def _body_bytes(change: FutureRecord | Change) -> int:
    return len(change.body or b"") if isinstance(change, FutureRecord) else 0


def _connect(path: Path) -> sqlite3.Connection:
    with opened(path, "ab") as file:  # what SQLite puts beside it has the same rights
        os.fchmod(file.fileno(), FILE_MODE)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if version == 0 and tables:
        connection.close()
        raise ConfigError(f"{path} is a database of something else.", advice="Choose another data directory.")
    if version == 0:
        connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
    elif version != VERSION:
        connection.close()
        raise ConfigError(f"{path} has tables of version {version}; this server has version {VERSION}.")
