"""Writer: a thread for what nobody waits for: what was noted, and files of checkpoints that are gone."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

from tinker_actors.local.core.keeping import FutureRecord
from tinker_actors.local.store.database import Change, Database

_LOG = logging.getLogger(__name__)

MOST_WAITING_BYTES = 64 * 2**20
"""Results beyond this are not written: a disk that is full or too slow must not fill the memory instead."""


class Writer:
    """Writes notes soon and removes folders some time. `note` is for one thread at a time.

    Args:
        database: where notes go.
        remove: removes a folder, for a reason. What it can't remove now is removed when the store is opened again.
        most_waiting: most bytes of results that wait to be written.
    """

    def __init__(
        self, database: Database, remove: Callable[[Path, str], None], most_waiting: int = MOST_WAITING_BYTES
    ) -> None:
        self._database = database
        self._most_waiting = most_waiting
        self._remove = remove
        self._work: SimpleQueue[tuple[Path, str] | Literal["write", "end"]] = SimpleQueue()
        # A daemon: a store that nobody closed must not keep the interpreter alive.
        self._thread = threading.Thread(target=self._run, name="tinker-local-writer", daemon=True)
        self._thread.start()

    def note(self, change: FutureRecord | Change) -> None:
        """Have something written."""
        size = len(change.body or b"") if isinstance(change, FutureRecord) else 0
        if size and self._database.waiting_bytes + size > self._most_waiting:
            _LOG.warning("the disk is full or too slow: a result of %d bytes is kept in memory only", size)
            return
        self._database.note(change)
        self._work.put("write")

    def remove(self, folder: Path, why: str) -> None:
        """Have a folder removed that nothing refers to any more, for a reason that is logged."""
        self._work.put((folder, why))

    def close(self) -> None:
        """Finish what was asked for, and end."""
        self._work.put("end")
        self._thread.join()

    def _run(self) -> None:
        while (piece := self._work.get()) != "end":
            if isinstance(piece, tuple):
                self._remove(*piece)
                continue
            try:
                self._database.commit()
            except sqlite3.Error:
                _LOG.exception("results are not kept on disk for now")
