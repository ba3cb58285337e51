"""The store in memory: for simulations. What a crash is there, is a new core on the same store."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from tinker_actors.local.core.keeping import (
    Checkpoint,
    CheckpointExistsError,
    CheckpointMeta,
    CheckpointMissingError,
    FutureRecord,
    RunRecord,
    SessionRecord,
)
from tinker_actors.local.core.ports import Arrays
from tinker_actors.local.store.checkpoint_folders import contents
from tinker_actors.local.store.tar_files import write_archive


class MemoryStore:
    """Keeps copies, so that what was saved does not change with the model. Thread-safe.

    Args:
        futures: most finished futures that are kept.
    """

    def __init__(self, *, futures: int = 1_000_000) -> None:
        self._lock = threading.Lock()
        self._most_futures = futures
        self._starts = 0
        self._checkpoints: dict[str, Checkpoint] = {}
        self._sessions: dict[str, SessionRecord] = {}
        self._runs: dict[str, RunRecord] = {}
        self._futures: OrderedDict[str, FutureRecord] = OrderedDict()
        self._numbers: dict[tuple[str, int], FutureRecord] = {}

    def note_start(self) -> int:
        """Return how many cores were made on this store before."""
        self._starts += 1
        return self._starts - 1

    def write(self, checkpoint: Checkpoint, *, overwrite: bool) -> None:
        """Keep a checkpoint.

        Raises:
            CheckpointExistsError: the path is taken, and `overwrite` is false.
        """
        adapter, optimizer = _copied(checkpoint.adapter), _copied(checkpoint.optimizer)
        kept = Checkpoint(checkpoint.meta, adapter, optimizer, checkpoint.adapter_config)
        with self._lock:
            if checkpoint.meta.path in self._checkpoints and not overwrite:
                raise CheckpointExistsError(checkpoint.meta.path)
            self._checkpoints[checkpoint.meta.path] = kept

    def find(self, path: str) -> CheckpointMeta | None:
        """Return what is known about a checkpoint."""
        with self._lock:
            found = self._checkpoints.get(path)
        return None if found is None else found.meta

    def read(self, path: str) -> Checkpoint:
        """Return a checkpoint.

        Raises:
            CheckpointMissingError: there is none.
        """
        with self._lock:
            return self._require(path)

    def checkpoints(self) -> Sequence[CheckpointMeta]:
        """Return what is known about all checkpoints."""
        with self._lock:
            return [checkpoint.meta for checkpoint in self._checkpoints.values()]

    def update(self, meta: CheckpointMeta) -> None:
        """Replace what is known about a checkpoint.

        Raises:
            CheckpointMissingError: it is not there, or under another uid.
        """
        with self._lock:
            found = self._require(meta.path, meta.uid)
            self._checkpoints[meta.path] = msgspec.structs.replace(found, meta=meta)

    def delete(self, path: str, why: str = "") -> None:  # noqa: ARG002 - nothing else goes with it
        """Remove a checkpoint, if it is there."""
        with self._lock:
            self._checkpoints.pop(path, None)

    def copy(self, source: str, meta: CheckpointMeta) -> None:
        """Keep the arrays of one checkpoint under another path too.

        Raises:
            CheckpointMissingError: there is no source.
            CheckpointExistsError: the path is taken.
        """
        self.write(msgspec.structs.replace(self.read(source), meta=meta), overwrite=False)

    def pack(self, path: str, uid: str, target: Path) -> None:
        """Write a checkpoint into a tar.gz.

        Raises:
            CheckpointMissingError: there is none, or another uid.
        """
        with self._lock:
            found = self._require(path, uid)
        write_archive(target, contents(found))

    def put_session(self, record: SessionRecord) -> None:
        """Keep a session's record."""
        self._sessions[record.session_id] = record

    def sessions(self) -> Sequence[SessionRecord]:
        """Return the records of all sessions."""
        return tuple(self._sessions.values())

    def forget_session(self, session_id: str) -> None:
        """Drop a session's record."""
        self._sessions.pop(session_id, None)

    def put_run(self, record: RunRecord) -> None:
        """Keep a training run's record."""
        self._runs[record.run_id] = record

    def runs(self) -> Sequence[RunRecord]:
        """Return the records of all training runs."""
        return tuple(self._runs.values())

    def forget_run(self, run_id: str) -> None:
        """Drop a training run's record."""
        self._runs.pop(run_id, None)

    def keep_future(self, record: FutureRecord) -> None:
        """Keep a finished future."""
        with self._lock:
            self._futures[record.request_id] = record
            if record.model_id is not None and record.seq_id is not None:
                self._numbers[record.model_id, record.seq_id] = record
            if len(self._futures) > self._most_futures:
                _, oldest = self._futures.popitem(last=False)
                self._numbers.pop((oldest.model_id or "", oldest.seq_id or 0), None)

    def note_future(self, record: FutureRecord) -> None:
        """Keep a finished future."""
        self.keep_future(record)

    def find_future(self, request_id: str) -> FutureRecord | None:
        """Return a finished future."""
        return self._futures.get(request_id)

    def find_number(self, model_id: str, seq_id: int) -> FutureRecord | None:
        """Return the finished future of a model's operation by its number."""
        return self._numbers.get((model_id, seq_id))

    def forget_result(self, request_id: str) -> None:
        """Drop a future's result."""
        found = self._futures.get(request_id)
        if found is not None:
            self._futures[request_id] = msgspec.structs.replace(found, body=None)

    def close(self) -> None:
        """Do nothing: what is kept goes with the object."""

    def _require(self, path: str, uid: str | None = None) -> Checkpoint:
        found = self._checkpoints.get(path)
        if found is None or uid not in (None, found.meta.uid):
            raise CheckpointMissingError(f"there is no checkpoint {path}")
        return found


def _copied(arrays: Arrays) -> Arrays:
    return {name: np.array(values) for name, values in arrays.items()}
