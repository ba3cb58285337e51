"""The store on disk: one folder per checkpoint.

A checkpoint is written to a folder aside, flushed, and renamed into place, so that a folder in place is always whole.
Replacing one adds a folder with the next version number and then removes the old one; after a crash in between the
higher number counts. What lies aside at the start is from a crash and is removed.
"""

from __future__ import annotations

import os
import shutil
import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import msgspec

from tinker_actors.local.core.ports import (
    Checkpoint,
    CheckpointExistsError,
    CheckpointMeta,
    CheckpointMissingError,
)
from tinker_actors.local.store.tensor_files import packed, unpacked
from tinker_actors.types.paths import ParsedCheckpointTinkerPath

META = "meta.json"
ADAPTER = "adapter_model.safetensors"
OPTIMIZER = "optimizer.safetensors"

KEPT_SESSIONS = 10_000
"""How many earlier sessions are remembered; clients of older ones have given up."""

_PARTS = ("checkpoints", "aside")
_VERSION = ","  # not a character of checkpoint names


class FileStore:
    """Checkpoints below a folder. Thread-safe; for one process at a time.

    Layout: `checkpoints/<run id>/<segment>/<name>,<version>/` holds `meta.json`, `adapter_model.safetensors` and, for a
    training checkpoint, `optimizer.safetensors`; `sessions.txt` holds one session id a line.

    Args:
        root: the folder; made if it is not there.
    """

    def __init__(self, root: Path) -> None:
        self._checkpoints, self._aside = (root / part for part in _PARTS)
        self._session_file = root / "sessions.txt"
        self._lock = threading.Lock()
        for folder in (self._checkpoints, self._aside):
            folder.mkdir(parents=True, exist_ok=True)
        for leftover in self._aside.iterdir():
            shutil.rmtree(leftover)
        self._index: dict[str, tuple[CheckpointMeta, Path, int]] = {}
        for meta, folder, version in self._scan():
            self._put_in_index(meta, folder, version)
        self._earlier = self._read_sessions()

    def write(self, checkpoint: Checkpoint, *, overwrite: bool) -> None:
        """Keep a checkpoint; when this returns, it survives a kill and a power failure.

        Raises:
            CheckpointExistsError: the path is taken, and `overwrite` is false.
            OSError: the disk does not take it; then nothing has changed.
        """
        with self._lock:
            meta = checkpoint.meta
            known = self._index.get(meta.path)
            if known is not None and not overwrite:
                raise CheckpointExistsError(f"{meta.path} exists already")
            version = 1 if known is None else known[2] + 1
            target = self._folder(meta.path, version)
            target.parent.mkdir(parents=True, exist_ok=True)
            aside = self._write_aside(checkpoint)
            aside.rename(target)
            for parent in (target.parent, target.parent.parent, self._checkpoints):
                _flush(parent)
            self._put_in_index(meta, target, version)

    def find(self, path: str) -> CheckpointMeta | None:
        """Return what is known about a checkpoint, from memory."""
        found = self._index.get(path)
        return None if found is None else found[0]

    def read(self, path: str) -> Checkpoint:
        """Return a checkpoint.

        Raises:
            CheckpointMissingError: there is none.
        """
        with self._lock:  # a replacement must not remove the folder meanwhile
            found = self._index.get(path)
            if found is None:
                raise CheckpointMissingError(f"there is no checkpoint {path}")
            meta, folder, _ = found
            optimizer = unpacked(folder / OPTIMIZER) if meta.has_optimizer else {}
            return Checkpoint(meta, unpacked(folder / ADAPTER), optimizer)

    def remember_session(self, session_id: str) -> None:
        """Note that a session exists."""
        with self._session_file.open("a", encoding="ascii") as file:
            file.write(f"{session_id}\n")

    def earlier_sessions(self) -> Sequence[str]:
        """Return the sessions noted before this store was opened."""
        return self._earlier

    def _folder(self, path: str, version: int) -> Path:
        parsed = ParsedCheckpointTinkerPath.from_tinker_path(path)
        segment, name = parsed.checkpoint_id.split("/")
        run = quote(parsed.training_run_id, safe="")  # a colon is no character for every file system
        return self._checkpoints / run / segment / f"{name}{_VERSION}{version}"

    def _write_aside(self, checkpoint: Checkpoint) -> Path:
        folder = self._aside / uuid.uuid4().hex
        folder.mkdir()
        try:
            _write_file(folder / META, msgspec.json.format(msgspec.json.encode(checkpoint.meta)))
            _write_file(folder / ADAPTER, packed(checkpoint.adapter))
            if checkpoint.meta.has_optimizer:
                _write_file(folder / OPTIMIZER, packed(checkpoint.optimizer))
            _flush(folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return folder

    def _scan(self) -> Iterator[tuple[CheckpointMeta, Path, int]]:
        for folder in sorted(self._checkpoints.glob(f"*/*/*{_VERSION}*")):
            version = int(folder.name.rpartition(_VERSION)[2])
            meta = msgspec.json.decode((folder / META).read_bytes(), type=CheckpointMeta)
            yield meta, folder, version

    def _put_in_index(self, meta: CheckpointMeta, folder: Path, version: int) -> None:
        """Let the higher version count, and remove the other one."""
        known = self._index.get(meta.path)
        if known is not None and known[2] > version:
            self._remove(folder)
            return
        self._index[meta.path] = (meta, folder, version)
        if known is not None:
            self._remove(known[1])

    def _remove(self, folder: Path) -> None:
        aside = self._aside / uuid.uuid4().hex
        folder.rename(aside)  # first out of sight, as a whole
        shutil.rmtree(aside)

    def _read_sessions(self) -> list[str]:
        if not self._session_file.exists():
            return []
        return self._session_file.read_text(encoding="ascii").split()[-KEPT_SESSIONS:]


def _write_file(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush(folder: Path) -> None:
    """Flush a folder's own entries to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
