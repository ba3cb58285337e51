"""Inflating: which codings are read, in what pieces, and where it stops."""

from __future__ import annotations

import gzip
import zlib

import pytest

from tinker_actors.net.inflating import InflatedBody, codings, inflatable

BODY = b"hello " * 5000
BARE = zlib.compressobj(wbits=-zlib.MAX_WBITS)
PACKED = {
    "gzip": gzip.compress(BODY),
    "x-gzip": gzip.compress(BODY[:100]) + gzip.compress(BODY[100:]),
    "deflate": zlib.compress(BODY),
    "deflate, bare": BARE.compress(BODY) + BARE.flush(),
}


def coding_of(name):
    return name.partition(",")[0]


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("", []),
        ("identity, UTF-8,aws-chunked", []),
        ("gzip", ["gzip"]),
        (" X-GZIP ,identity, deflate", ["x-gzip", "deflate"]),
        ("br", ["br"]),
        ("gzip, zstd", ["gzip", "zstd"]),
    ],
)
def test_words_that_change_nothing_are_passed_over(header, found):
    assert codings(header) == found


def test_what_is_a_coding_and_not_read_here_is_told_apart():
    assert [name for name in codings("gzip,x-gzip,deflate,br,zstd,compress") if inflatable(name)] == [
        "gzip",
        "x-gzip",
        "deflate",
    ]


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
@pytest.mark.parametrize("name", PACKED)
def test_a_body_comes_out_whole_in_any_pieces(name, piece):
    body, into, packed = InflatedBody(coding_of(name)), bytearray(), PACKED[name]
    assert body.complete  # of no bytes at all
    assert all(body.inflate(packed[at : at + piece], into, len(BODY)) for at in range(0, len(packed), piece))
    assert into == BODY
    assert body.complete


@pytest.mark.parametrize("name", PACKED)
def test_a_body_that_is_cut_is_not_complete(name):
    body = InflatedBody(coding_of(name))
    assert body.inflate(PACKED[name][:-9], bytearray(), len(BODY))
    assert not body.complete


@pytest.mark.parametrize("name", PACKED)
def test_it_stops_at_the_limit(name):
    body, into = InflatedBody(coding_of(name)), bytearray()
    assert not body.inflate(PACKED[name], into, len(BODY) - 1)
    assert len(into) == len(BODY)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_what_is_not_of_that_coding_is_an_error(coding):
    with pytest.raises(zlib.error):
        InflatedBody(coding).inflate(b"plain text, for once", bytearray(), 1000)
