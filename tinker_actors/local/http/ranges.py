"""Ranges: which part of a file a request asks for (RFC 9110, section 14)."""

from __future__ import annotations

import re
from typing import NamedTuple

_BYTES = re.compile(r"\s*bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.ASCII | re.IGNORECASE)


class Part(NamedTuple):
    """Bytes `start` to `end` of a file, `end` not included."""

    start: int
    end: int


class UnsatisfiableError(ValueError):
    """No byte of the file is in the range."""


def part_of(wanted: str | None, size: int) -> Part | None:
    """Return the part asked for, or None for the whole file.

    What is no single range of bytes is ignored, as the standard allows; clients then get the whole file and see so.

    Args:
        wanted: the `Range` header, or None.
        size: the file's size in bytes.

    Raises:
        UnsatisfiableError: the range is behind the end.
    """
    found = _BYTES.fullmatch(wanted or "")
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if first == "":
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), size if last == "" else min(size, int(last) + 1)
        if last != "" and int(last) < start:
            return None  # not a range at all
    if start >= end:
        raise UnsatisfiableError(f"the file has {size} bytes")
    return Part(start, end)
