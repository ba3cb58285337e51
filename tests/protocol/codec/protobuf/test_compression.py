"""Compressed bodies are unpacked whole, within the limit, or refused."""

from __future__ import annotations

import pytest

from tinker_actors.protocol.codec.protobuf.compression import BodyTooLargeError, compress_zstd, decompress_zstd

zstandard = pytest.importorskip("zstandard")

CONTENT = b"tokens " * 5_000


def stream(content):
    """A frame that does not say how much it holds."""
    packer = zstandard.ZstdCompressor().compressobj()
    return packer.compress(content) + packer.flush()


def frame(content):
    return zstandard.ZstdCompressor().compress(content)


@pytest.mark.parametrize("pack", [frame, stream])
@pytest.mark.parametrize("content", [b"", b"x", CONTENT])
def test_a_frame_is_unpacked_up_to_the_limit(pack, content):
    assert decompress_zstd(pack(content), max(1, len(content))) == content


@pytest.mark.parametrize("pack", [frame, stream])
def test_a_frame_that_unpacks_to_more_is_refused(pack):
    with pytest.raises(BodyTooLargeError, match=r"34999 .*are allowed"):
        decompress_zstd(pack(CONTENT), len(CONTENT) - 1)


@pytest.mark.parametrize("pack", [frame, stream])
@pytest.mark.parametrize(
    "spoil", [lambda b: b[:-1], lambda b: b + b"x", lambda b: b + b, lambda b: b[4:], lambda _: b""]
)
def test_what_is_not_one_whole_frame_is_refused(pack, spoil):
    with pytest.raises(ValueError, match="no zstd frame") as caught:
        decompress_zstd(spoil(pack(CONTENT)), 10 * len(CONTENT))
    assert not isinstance(caught.value, BodyTooLargeError)


def test_a_frame_that_lies_about_its_size_is_refused():
    packed = bytearray(frame(CONTENT))
    place = packed.index((len(CONTENT) - 256).to_bytes(2, "little"))  # the header's two bytes for sizes from 256 up
    packed[place : place + 2] = (100).to_bytes(2, "little")
    assert zstandard.frame_content_size(bytes(packed)) == 356
    with pytest.raises(ValueError, match="no zstd frame"):
        decompress_zstd(bytes(packed), 10 * len(CONTENT))


@pytest.mark.parametrize("content", [b"", b"x", CONTENT])
def test_what_is_compressed_is_unpacked_again(content):
    packed = compress_zstd(content)
    assert packed is not None
    assert decompress_zstd(packed, max(1, len(content))) == content


@pytest.mark.parametrize("limit", [len(CONTENT), 2**26])
def test_a_frame_may_not_ask_for_more_memory_than_its_content(limit):
    """Beyond the 8 MiB that every reader grants."""
    packed = {}
    for log in (23, 27):
        packing = zstandard.ZstdCompressionParameters(window_log=log, write_content_size=False)
        packer = zstandard.ZstdCompressor(compression_params=packing).compressobj()
        packed[log] = packer.compress(CONTENT) + packer.flush()
    assert decompress_zstd(packed[23], limit) == CONTENT
    with pytest.raises(ValueError, match="memory"):
        decompress_zstd(packed[27], limit)
