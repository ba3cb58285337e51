"""Temporary folders for servers: held by those who need them, and removed some time after the last of them is gone.

A server that is killed can't remove its folder. Whoever needs one has a lock on a file in it, which the system takes
back with the process; so the next server can tell which folders nobody needs. It leaves them alone for a day, because
what a dead server has saved may be all that somebody has.
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
from io import FileIO
from pathlib import Path

_LOG = logging.getLogger(__name__)

PREFIX = "tinker-local-"
"""What the names of all such folders begin with."""

LEFT_FOR = 24 * 3600.0
"""Seconds for which a folder that nobody holds is left as it is after it was last changed."""

_HELD = "held"
_LOCKS = (_HELD, "lock")  # the second one is the store's, for a folder that was given to another server by its name


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a new folder, held until it is removed in the end."""
    sweep(Path(tempfile.gettempdir()), time.time())
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        with hold(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def hold(folder: Path) -> FileIO:
    """Say that a folder is needed, along with others who may say so too.

    Returns:
        A file; until it is closed, here and in every process that was forked meanwhile, the folder is held.
    """
    file = (folder / _HELD).open("ab", buffering=0)
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


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
    if folder.is_symlink() or found.st_uid != os.getuid() or not (folder / _HELD).is_file():
        return False
    return max([found.st_mtime, *(entry.lstat().st_mtime for entry in folder.iterdir())]) < now - LEFT_FOR


def _remove_if_free(folder: Path) -> None:
    with contextlib.ExitStack() as locks:
        for path in (folder / name for name in _LOCKS):
            if path.exists():
                file = locks.enter_context(path.open("ab", buffering=0))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _LOG.info("removing %s, which a killed server has left", folder)
        shutil.rmtree(folder)
