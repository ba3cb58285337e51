"""Temporary folders for servers: held by those who need them, and removed some time after the last of them is gone.

A server that is killed can't remove its folder. Whoever needs one has a lock on the mark in it, which the system takes
back with the process; so the next server can tell which folders nobody needs. It leaves them alone for a day, because
what a dead server has saved may be all that somebody has. Whoever names such a folder as the place for his data keeps
it: its mark is taken away.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tinker_actors.local import marks
from tinker_actors.local.private import opened

_LOG = logging.getLogger(__name__)

PREFIX = "tinker-local-"
"""What the names of all such folders begin with."""

LEFT_FOR = 24 * 3600.0
"""Seconds for which a folder that nobody holds is left as it is after it was last changed."""

_LOCKS = (marks.NAME, "lock")  # the second one is the store's, for a server that was told the folder's name


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a new folder, held until it is removed in the end."""
    sweep(Path(tempfile.gettempdir()), time.time())
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        with hold(folder):
            yield folder
    finally:
        remove(folder)


def hold(folder: Path) -> IO[bytes]:
    """Say that a temporary folder is needed, along with others who may say so too.

    Returns:
        A file; until it is closed, here and in every process that was forked meanwhile, the folder is held.
    """
    file = opened(folder / marks.NAME, "ab", buffering=0)
    fcntl.flock(file, fcntl.LOCK_SH)
    if not file.tell():
        file.write(marks.CONTENT)
    return file


def keep(folder: Path) -> None:
    """Make a folder one that is not temporary any more; does nothing to other folders."""
    if marks.is_on(folder):
        marks.take(folder)
        _LOG.info("%s is kept from now on", folder)


def remove(folder: Path, why: str = "it is not needed any more", level: int = logging.INFO) -> None:
    """Remove a temporary folder with all that is in it, if it still is one. Links are removed, not followed."""
    if marks.is_on(folder):
        shutil.rmtree(folder, ignore_errors=True)
        _LOG.log(level, "removed %s: %s", folder, why)


def sweep(where: Path, now: float) -> None:
    """Remove the folders of this user that nobody holds and nobody has changed for a day.

    Args:
        where: the folder that they are in.
        now: seconds since 1970.
    """
    for folder in where.glob(f"{PREFIX}*"):
        try:
            if _is_old(folder, now):
                _remove_if_free(folder)
        except OSError as error:
            _LOG.info("%s is left as it is: %s", folder, error)  # held, or another server sweeps too


def _is_old(folder: Path, now: float) -> bool:
    found = folder.lstat()
    if found.st_uid != os.getuid() or not marks.is_on(folder):
        return False
    return max([found.st_mtime, *(entry.lstat().st_mtime for entry in folder.iterdir())]) < now - LEFT_FOR


def _remove_if_free(folder: Path) -> None:
    with contextlib.ExitStack() as locks:
        for path in (folder / name for name in _LOCKS):
            if path.exists():
                file = locks.enter_context(path.open("rb"))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove(folder, "a killed server has left it", logging.WARNING)
