"""Tar files: a checkpoint as one file to download.

The same files give the same bytes, so that a download that was cut can go on from an archive that was made anew: no
times, no owners, a fixed order and a fixed compression.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

_LEVEL = 1  # random weights hardly get smaller, whatever the effort


def write_archive(target: Path, files: Mapping[str, bytes | Path]) -> None:
    """Write a tar.gz.

    Args:
        target: the archive; it appears when it is whole.
        files: name -> content, or the file that holds it.

    Raises:
        OSError: a file can't be read, or the disk does not take it; then there is no archive.
    """
    aside = target.with_name(f"{target.name}.part")
    try:
        with (
            aside.open("wb") as raw,
            gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=raw, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
        ):
            for name in sorted(files):
                _add(tar, name, files[name])
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


def _add(tar: tarfile.TarFile, name: str, content: bytes | Path) -> None:
    entry = tarfile.TarInfo(name)
    if isinstance(content, bytes):
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
        return
    with content.open("rb") as file:
        entry.size = os.fstat(file.fileno()).st_size
        tar.addfile(entry, file)
