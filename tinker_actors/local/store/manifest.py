"""Manifests: what a checkpoint's folder says about itself.

With them, a folder is a checkpoint also where no database knows it, and a file that is not what was saved is found out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from tinker_actors.local.core.keeping import CheckpointDamagedError, CheckpointMeta

NAME = "checkpoint.json"
"""The manifest's file name."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is in `checkpoint.json`.

    Attributes:
        checkpoint: what is known about the checkpoint, as the database has it too.
        sha256: file name -> SHA-256 of its content in hex, as `sha256sum` prints it.
    """

    checkpoint: CheckpointMeta
    sha256: dict[str, str]


def manifest_of(meta: CheckpointMeta, files: Mapping[str, bytes]) -> Manifest:
    """Return the manifest of a checkpoint with these files."""
    return Manifest(checkpoint=meta, sha256={name: _digest(content) for name, content in files.items()})


def encoded(manifest: Manifest) -> bytes:
    """Return the content of `checkpoint.json`."""
    return msgspec.json.format(msgspec.json.encode(manifest))


def read_manifest(folder: Path) -> Manifest:
    """Return a folder's manifest.

    Raises:
        FileNotFoundError: it has none.
        CheckpointDamagedError: what it has is none.
    """
    try:
        return msgspec.json.decode((folder / NAME).read_bytes(), type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _damaged(folder / NAME, "it can't be read") from error


def read_whole(folder: Path, name: str, manifest: Manifest) -> bytes:
    """Return a file's content, which is what was saved.

    Raises:
        FileNotFoundError: the file is gone.
        CheckpointDamagedError: it is not what was saved; the message names it.
    """
    content = (folder / name).read_bytes()
    if _digest(content) != manifest.sha256.get(name):
        raise _damaged(folder / name, "its SHA-256 is not that of what was saved")
    return content


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _damaged(file: Path, how: str) -> CheckpointDamagedError:
    place = "/".join(file.parts[-4:])  # below `checkpoints`: clients need not know where that is
    return CheckpointDamagedError(f"the file {place} of this checkpoint is damaged: {how}")
