"""Private: files and folders that nobody but this user may read, because they hold weights, prompts and results.

Only what is made here gets its rights here; whoever gave the server a folder of his own keeps the rights it has.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any

FOLDER_MODE = 0o700
FILE_MODE = 0o600


def opened(path: Path, mode: str, **options: Any) -> IO[Any]:
    """Open a file like `Path.open`; where it is made by that, it is private."""
    return open(path, mode, opener=_private, **options)


def write_file(path: Path, content: bytes) -> None:
    """Make a file; when this returns, its content survives a power failure."""
    with opened(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Flush a folder's own entries to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, FILE_MODE)
