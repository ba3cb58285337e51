"""Checkpoint folders: one folder for each checkpoint, in the layout of PEFT adapters.

A folder is whole before the database refers to it and out of the database before it is removed. So whatever the
database does not refer to is a leftover of a crash, and `remove_others` removes it.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tinker_actors.local.core.keeping import Checkpoint, CheckpointMeta
from tinker_actors.local.core.ports import Arrays
from tinker_actors.local.store.tensor_files import packed, unpacked
from tinker_actors.types.paths import ParsedCheckpointTinkerPath

CONFIG = "adapter_config.json"
ADAPTER = "adapter_model.safetensors"
OPTIMIZER = "optimizer.safetensors"

_LEVELS = "*/*/*"
_NAME_LENGTH = 100  # of 255 that a file's name may have: the folder's name is for people, who read this much


def contents(checkpoint: Checkpoint) -> dict[str, bytes]:
    """Return a checkpoint's files: name -> content."""
    files = {CONFIG: config_file(checkpoint.adapter_config), ADAPTER: packed(checkpoint.adapter)}
    if checkpoint.meta.has_optimizer:
        files[OPTIMIZER] = packed(checkpoint.optimizer)
    return files


def config_file(config: Mapping[str, Any]) -> bytes:
    """Return the content of `adapter_config.json`."""
    return json.dumps(config, indent=2).encode()


class CheckpointFolders:
    """The folders of all checkpoints, `<run id>/<segment>/<name>,<random>` below a root. Thread-safe.

    Args:
        root: where they are; made if it is not there.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        if not root.is_dir():
            root.mkdir(parents=True)
            _flush(root.parent)

    def write(self, path: str, files: Mapping[str, bytes]) -> Path:
        """Make a folder with these files; when this returns, it survives a power failure.

        Raises:
            OSError: the disk does not take it; then there is no folder.
        """
        with self._new_folder(path) as folder:
            for name, content in files.items():
                _write_file(folder / name, content)
        return folder

    def link(self, path: str, source: Path) -> Path:
        """Make a folder with the files of another one, sharing their content, which never changes.

        Raises:
            OSError: the disk does not take it, or the other folder is gone; then there is no folder.
        """
        with self._new_folder(path) as folder:
            for file in source.iterdir():
                os.link(file, folder / file.name)
        return folder

    def read(self, folder: Path, meta: CheckpointMeta) -> Checkpoint:
        """Return the checkpoint in a folder.

        Raises:
            FileNotFoundError: the folder is gone.
        """
        optimizer: Arrays = unpacked(folder / OPTIMIZER) if meta.has_optimizer else {}
        config = json.loads((folder / CONFIG).read_bytes())
        return Checkpoint(meta, unpacked(folder / ADAPTER), optimizer, config)

    def at(self, relative: str) -> Path | None:
        """Return a folder by its place below the root, if it is there."""
        folder = self._root / relative
        return folder if (folder / ADAPTER).is_file() else None

    def place_of(self, folder: Path) -> str:
        """Return a folder's place below the root."""
        return folder.relative_to(self._root).as_posix()

    def remove_others(self, kept: Collection[Path]) -> None:
        """Remove every folder but these."""
        for folder in set(self._root.glob(_LEVELS)) - set(kept):
            shutil.rmtree(folder)
        for depth in ("*/*", "*"):
            for parent in self._root.glob(depth):
                if not any(parent.iterdir()):
                    parent.rmdir()

    @contextlib.contextmanager
    def _new_folder(self, path: str) -> Iterator[Path]:
        """Yield a new folder for a checkpoint. It is flushed in the end, or removed if that is not reached."""
        folder = self._place_for(path)
        try:
            for parent in (folder.parent.parent, folder.parent, folder):
                if not parent.is_dir():
                    parent.mkdir(exist_ok=True)
                    _flush(parent.parent)
            yield folder
            _flush(folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _place_for(self, path: str) -> Path:
        parsed = ParsedCheckpointTinkerPath.from_tinker_path(path)
        segment, name = parsed.checkpoint_id.split("/")
        run = self._root / quote(parsed.training_run_id, safe="")  # a colon is no character for every file system
        return run / segment / f"{name[:_NAME_LENGTH]},{secrets.token_hex(8)}"


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
