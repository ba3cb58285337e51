"""Marks: how the server tells the folders that it may remove from everything else.

A folder is removed because it says that it may be, and never because nothing refers to it: what refers to it may be
missing, older, or not there yet. A mark is a file in the folder. It is put there before anything else is, and it goes
last, so that a folder whose removal was cut short still bears it.

In a marked folder, only files are removed whose names the server gives. Links are not followed, and not removed.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from tinker_actors.local.private import flush_folder, write_file

_LOG = logging.getLogger(__name__)

NAME = ".tinker-actors-removable"
"""The mark's file name."""

CONTENT = b"Made by the embedded server of tinker-actors, unfinished or not needed any more. The server removes it.\n"


def put(folder: Path) -> None:
    """Mark a folder; when this returns, the mark survives a power failure."""
    write_file(folder / NAME, CONTENT)
    flush_folder(folder)


def take(folder: Path) -> None:
    """Take a folder's mark away, if it has one."""
    (folder / NAME).unlink(missing_ok=True)


def is_on(folder: Path) -> bool:
    """Return whether this is a folder, not a link to one, and bears our mark."""
    path = folder / NAME
    try:
        return (
            stat.S_ISDIR(folder.lstat().st_mode)
            and stat.S_ISREG(path.lstat().st_mode)
            and CONTENT.startswith(path.read_bytes())  # a crash may have cut it short
        )
    except OSError:
        return False


def folders(where: Path) -> Iterator[Path]:
    """Yield the folders in a folder, without links to some; none if it can't be read."""
    try:
        with os.scandir(where) as entries:
            found = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError as error:
        _LOG.warning("%s is left as it is: %s", where, error)
        return
    yield from (where / name for name in found)


def remove(folder: Path, is_ours: Callable[[str], bool], why: str, level: int = logging.INFO) -> None:
    """Remove a marked folder, or do nothing if it is not marked. Logs what it did and what it left.

    Args:
        folder: the folder.
        is_ours: whether the server gives files in such a folder this name.
        why: the reason, for the log.
        level: the log's level: for what nobody asked for, at least a warning.
    """
    if not is_on(folder):
        return
    try:
        for path in list(folder.iterdir()):
            if is_ours(path.name) and stat.S_ISREG(path.lstat().st_mode):
                path.unlink()
        others = [path.name for path in folder.iterdir() if path.name != NAME]
        if others:
            _LOG.warning("%s is left, because it holds what this server did not put there: %s", folder, min(others))
            return
        take(folder)
        folder.rmdir()
    except OSError as error:
        _LOG.warning("%s can't be removed now (%s): the next start tries again", folder, error)
    else:
        _LOG.log(level, "removed %s: %s", folder, why)
