"""Checkpoint folders: one folder for each checkpoint, in the layout of PEFT adapters.

Theory of operation. A folder is marked as removable (`marks`) from its first moment until the database lists it, and
again from the moment before the database stops listing it. So after a crash a marked folder is a leftover unless the
database lists it. A folder without a mark is never removed: either the database lists it, or it is somebody else's, or
the database is not the one that it was saved under; its manifest tells which.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import threading
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from tinker_actors.errors import InvalidInputError
from tinker_actors.local import marks
from tinker_actors.local.core.keeping import Checkpoint, CheckpointDamagedError, CheckpointMeta
from tinker_actors.local.core.ports import Arrays
from tinker_actors.local.private import FOLDER_MODE, flush_folder, write_file
from tinker_actors.local.store import manifest
from tinker_actors.local.store.manifest import Manifest
from tinker_actors.local.store.tensor_files import packed, unpacked
from tinker_actors.types.paths import ParsedCheckpointTinkerPath

_LOG = logging.getLogger(__name__)

CONFIG = "adapter_config.json"
ADAPTER = "adapter_model.safetensors"
OPTIMIZER = "optimizer.safetensors"

_OURS = frozenset({CONFIG, ADAPTER, OPTIMIZER, manifest.NAME, f"{manifest.NAME}.new"})
_DEPTH = 3  # run, segment, name
_NAME_LENGTH = 100  # of 255 that a file's name may have: the folder's name is for people, who read this much


def contents(checkpoint: Checkpoint) -> dict[str, bytes]:
    """Return a checkpoint's files: name -> content."""
    files = {CONFIG: config_file(checkpoint.adapter_config), ADAPTER: packed(checkpoint.adapter)}
    if checkpoint.meta.has_optimizer:
        files[OPTIMIZER] = packed(checkpoint.optimizer)
    return files


def _names(meta: CheckpointMeta) -> tuple[str, ...]:
    return (CONFIG, ADAPTER, OPTIMIZER) if meta.has_optimizer else (CONFIG, ADAPTER)


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
        self._shape = threading.Lock()  # between making a folder's parents and the folder itself
        if not root.is_dir():
            root.mkdir(mode=FOLDER_MODE)
            flush_folder(root.parent)

    def write(self, meta: CheckpointMeta, files: Mapping[str, bytes]) -> Path:
        """Make a folder with these files, still marked; when this returns, it survives a power failure.

        Raises:
            OSError: the disk does not take it; then there is no folder.
        """
        with self._new_folder(meta.path) as folder:
            for name, content in files.items():
                write_file(folder / name, content)
            write_file(folder / manifest.NAME, manifest.encoded(manifest.manifest_of(meta, files)))
        return folder

    def link(self, meta: CheckpointMeta, source: Path) -> Path:
        """Make a folder, still marked, that shares the files of another one, whose content never changes.

        Raises:
            CheckpointDamagedError: what the other folder says about itself can't be read.
            OSError: the disk does not take it, or the other folder is gone; then there is no folder.
        """
        known = manifest.read_manifest(source)
        with self._new_folder(meta.path) as folder:
            for name in _names(meta):
                os.link(source / name, folder / name)
            copied = Manifest(checkpoint=meta, sha256=known.sha256)
            write_file(folder / manifest.NAME, manifest.encoded(copied))
        return folder

    def settle(self, folder: Path) -> None:
        """Take the mark from a folder that the database lists."""
        try:
            marks.take(folder)
        except OSError as error:
            _LOG.warning("the mark of %s is left: %s", folder, error)  # whoever lists it pays no attention to it

    def give_up(self, folder: Path) -> None:
        """Mark a folder that the database is about to list no more.

        Raises:
            OSError: the disk does not take it.
        """
        with contextlib.suppress(FileNotFoundError):  # it was taken away from outside
            marks.put(folder)

    def describe(self, folder: Path, meta: CheckpointMeta) -> None:
        """Let a folder say of itself what has become true of its checkpoint, if it says anything.

        Raises:
            OSError: the disk does not take it; then it says what it said.
        """
        try:
            known = manifest.read_manifest(folder)
        except (FileNotFoundError, CheckpointDamagedError) as error:
            _LOG.warning("%s does not say what became of its checkpoint: %s", folder, error)
            return
        aside = folder / f"{manifest.NAME}.new"
        try:
            write_file(aside, manifest.encoded(Manifest(checkpoint=meta, sha256=known.sha256)))
            aside.replace(folder / manifest.NAME)
        finally:
            aside.unlink(missing_ok=True)
        flush_folder(folder)

    def described(self, folder: Path) -> CheckpointMeta | None:
        """Return what a folder says about its checkpoint; None where it can't be read."""
        try:
            return manifest.read_manifest(folder).checkpoint
        except (OSError, CheckpointDamagedError):
            return None

    def read(self, folder: Path, meta: CheckpointMeta) -> Checkpoint:
        """Return the checkpoint in a folder.

        Raises:
            FileNotFoundError: a file is gone.
            CheckpointDamagedError: a file is not what was saved; the message names it.
        """
        files = self.files(folder, meta)
        optimizer: Arrays = unpacked(files[OPTIMIZER]) if meta.has_optimizer else {}
        return Checkpoint(meta, unpacked(files[ADAPTER]), optimizer, json.loads(files[CONFIG]))

    def files(self, folder: Path, meta: CheckpointMeta) -> dict[str, bytes]:
        """Return the files of a checkpoint as they were saved: name -> content. Raises like `read`."""
        known = manifest.read_manifest(folder)
        return {name: manifest.read_whole(folder, name, known) for name in _names(meta)}

    def at(self, place: str) -> Path | None:
        """Return a folder by its place below the root, if it is there."""
        parts = PurePosixPath(place).parts
        folder = self._root.joinpath(*parts)
        known = len(parts) == _DEPTH and ".." not in parts and (folder / ADAPTER).is_file()
        return folder if known else None

    def place_of(self, folder: Path) -> str:
        """Return a folder's place below the root."""
        return folder.relative_to(self._root).as_posix()

    def unlisted(self, listed: Collection[Path]) -> Iterator[tuple[Path, Manifest]]:
        """Yield the finished checkpoints of this kind of server that are not listed, with what they say of themselves.

        Args:
            listed: the folders that the database lists.
        """
        for folder in self._all():
            if folder not in listed and not marks.is_on(folder):
                try:
                    known = manifest.read_manifest(folder)
                    ParsedCheckpointTinkerPath.from_tinker_path(known.checkpoint.path)
                except (OSError, CheckpointDamagedError, InvalidInputError):
                    continue  # somebody else's
                if all((folder / name).is_file() for name in _names(known.checkpoint)):
                    yield folder, known

    def clear(self, listed: Collection[Path]) -> None:
        """Remove what a crash has left: folders that are marked, and not listed."""
        for folder in self._all():
            if folder in listed:
                self.settle(folder)
            else:
                self.remove(folder, "a crash left it unfinished, or in the middle of its removal", logging.WARNING)

    def remove(self, folder: Path, why: str, level: int = logging.INFO) -> None:
        """Remove a marked folder, and those around it that are empty then. Logs it.

        Args:
            folder: the folder.
            why: the reason, for the log.
            level: the log's level.
        """
        marks.remove(folder, _OURS.__contains__, why, level)
        if not folder.exists():
            with self._shape, contextlib.suppress(OSError):  # the first one that is not empty ends it
                folder.parent.rmdir()
                folder.parent.parent.rmdir()

    def _all(self) -> Iterator[Path]:
        for run in marks.folders(self._root):
            for segment in marks.folders(run):
                yield from marks.folders(segment)

    @contextlib.contextmanager
    def _new_folder(self, path: str) -> Iterator[Path]:
        """Yield a new, marked folder for a checkpoint. It is flushed in the end, or removed if that is not reached."""
        folder = self._place_for(path)
        try:
            with self._shape:
                for parent in (folder.parent.parent, folder.parent, folder):
                    if not parent.is_dir():
                        parent.mkdir(mode=FOLDER_MODE, exist_ok=True)
                        flush_folder(parent.parent)
            marks.put(folder)
            yield folder
            flush_folder(folder)
        except BaseException:
            self.remove(folder, "it could not be written")
            with contextlib.suppress(OSError):
                folder.rmdir()  # not even the mark could be written
            raise

    def _place_for(self, path: str) -> Path:
        parsed = ParsedCheckpointTinkerPath.from_tinker_path(path)
        segment, name = parsed.checkpoint_id.split("/")
        run = self._root / quote(parsed.training_run_id, safe="")  # a colon is no character for every file system
        return run / segment / f"{name[:_NAME_LENGTH]},{secrets.token_hex(8)}"
