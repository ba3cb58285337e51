"""Tar files: a checkpoint as one file to download.

The same files give the same bytes, so that a download that was cut can go on from an archive that was made anew: no
times, no owners, a fixed order and a fixed compression.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from tinker_actors.local.private import opened

UNFINISHED = ".part"
"""What the name of an archive ends with until it is whole."""

_LEVEL = 1  # random weights hardly get smaller, whatever the effort


def write_archive(target: Path, files: Mapping[str, bytes]) -> None:
    """Write a tar.gz that only this user may read.

    Args:
        target: the archive; it appears when it is whole.
        files: name -> content.

    Raises:
        OSError: the disk does not take it; then there is no archive.
    """
    aside = target.with_name(f"{target.name}{UNFINISHED}")
    try:
        with (
            opened(aside, "wb") as raw,
            gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=raw, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
        ):
            for name in sorted(files):
                entry = tarfile.TarInfo(name)
                entry.size = len(files[name])
                tar.addfile(entry, io.BytesIO(files[name]))
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
