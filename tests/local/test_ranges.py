"""Ranges: what is cut out of a file, and what is no cut at all."""

from __future__ import annotations

import pytest

from tinker_actors.local.http.ranges import UnsatisfiableError, part_of


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-99", (0, 100)),
        ("bytes=10-19", (10, 20)),
        ("bytes=90-1000", (90, 100)),
        ("bytes=99-", (99, 100)),
        ("bytes=0-", (0, 100)),
        ("bytes=-1", (99, 100)),
        ("bytes=-1000", (0, 100)),
        (" Bytes = 1 - 2 ", (1, 3)),
    ],
)
def test_a_range_is_cut(wanted, expected):
    assert part_of(wanted, 100) == expected


@pytest.mark.parametrize(
    "wanted",
    [None, "", "bytes", "bytes=-", "bytes=2-1", "bytes=0-1,5-6", "lines=0-1", "bytes=a-b", "bytes=0x1-2", "bytes=²-3"],
)
def test_what_is_no_single_range_is_ignored(wanted):
    assert part_of(wanted, 100) is None


@pytest.mark.parametrize(("wanted", "size"), [("bytes=100-", 100), ("bytes=100-200", 100), ("bytes=-0", 100)])
def test_a_range_without_a_byte_is_told_so(wanted, size):
    with pytest.raises(UnsatisfiableError, match="100 bytes"):
        part_of(wanted, size)


@pytest.mark.parametrize("wanted", ["bytes=0-", "bytes=0-0", "bytes=-5"])
def test_an_empty_file_has_no_range(wanted):
    with pytest.raises(UnsatisfiableError):
        part_of(wanted, 0)
