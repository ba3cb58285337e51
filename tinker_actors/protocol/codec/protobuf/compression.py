"""Compression: request bodies as one zstd frame, unpacked within a limit.

A few bytes can unpack to gigabytes, so the limit holds for what comes out, and before any of it is kept.
"""

from __future__ import annotations

import functools
from typing import Any

from tinker_actors.loading import load

ENCODING = "zstd"
"""The `Content-Encoding` of such a body."""


_WINDOW_BYTES = 2**23
"""What every reader of zstd should be ready to keep of a body to look back at (RFC 8878, section 3.1.1.1.2)."""


class BodyTooLargeError(ValueError):
    """A body unpacks to more than the limit."""


def compress_zstd(body: bytes) -> bytes | None:
    """Return a body as one zstd frame, or None where the package `zstandard` is missing.

    What comes out is a sixth of typical training data; the servers that ask for it read the other form too.
    """
    package = _zstandard()
    if package is None:
        return None
    packed: bytes = package.ZstdCompressor().compress(body)
    return packed


@functools.cache
def _zstandard() -> Any:
    try:
        load("zstandard")
        import zstandard  # noqa: PLC0415 - optional, and most servers don't ask for it
    except ImportError:
        return None
    return zstandard


def decompress_zstd(body: bytes, limit: int) -> bytes:
    """Return what a body of exactly one zstd frame holds. Needs the package `zstandard`.

    Args:
        body: the frame, whole.
        limit: most bytes that may come out.

    Raises:
        BodyTooLargeError: it holds more than `limit`.
        ValueError: no zstd, cut short, with something behind the frame, or it asks for more memory to look back at than
            it may have bytes.
    """
    load("zstandard")
    import zstandard  # noqa: PLC0415 - only servers need it, and only for such bodies

    window = max(limit, _WINDOW_BYTES)
    try:
        size = zstandard.frame_content_size(body)
        if size > limit:
            raise BodyTooLargeError(f"the body unpacks to {size} bytes, and {limit} are allowed")
        if size >= 0:  # into a buffer of that size, whatever the frame really holds
            unpacked: bytes = zstandard.ZstdDecompressor(max_window_size=window).decompress(
                body, allow_extra_data=False
            )
            return unpacked
        return _unpacked_unsized(body, limit, window)
    except zstandard.ZstdError as error:
        raise ValueError(f"the body is no zstd frame that can be unpacked: {error}") from error


def _unpacked_unsized(body: bytes, limit: int, window: int) -> bytes:
    """Return what a frame holds that does not say how much that is: counted first, then kept."""
    load("zstandard")
    import zstandard  # noqa: PLC0415 - see above

    with zstandard.ZstdDecompressor(max_window_size=window).stream_reader(body) as reader:
        if len(reader.read(limit + 1)) > limit:
            raise BodyTooLargeError(f"the body unpacks to more than the {limit} bytes that are allowed")
    unpacker = zstandard.ZstdDecompressor(max_window_size=window).decompressobj()
    unpacked: bytes = unpacker.decompress(body)
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("the body is no zstd frame that can be unpacked: it is cut short, or something follows")
    return unpacked
