"""Bodies that a server compressed although nobody asked for it.

We send `Accept-Encoding: identity`, but proxies in between sometimes compress anyway. The size limit applies to
what comes out, so that a few bytes can't fill the memory.
"""

from __future__ import annotations

import zlib

# zlib's numbers for the containers, with the largest window.
_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
# The codings that change the bytes (the registry of RFC 9110) and are not read here.
_UNREAD = frozenset({"br", "zstd", "compress", "x-compress"})
# The lower half of the first byte of zlib's container.
_ZLIB = 8
# What follows a stream is copied when it ends, and there may be a stream in every 20 bytes.
_SLICE = 4096
_MOST_AT_ONCE = 1024 * 1024


def codings(content_encoding: str) -> list[str]:
    """Return the codings in a `Content-Encoding` that change the body's bytes.

    Servers and proxies write other words there, too: nothing, `identity`, `utf-8`, `aws-chunked`. They change nothing,
    and HTTP libraries pass them over.
    """
    words = [word.strip().lower() for word in content_encoding.split(",")]
    return [word for word in words if word in _WINDOWS or word in _UNREAD]


def inflatable(coding: str) -> bool:
    """Return whether `InflatedBody` reads a coding."""
    return coding in _WINDOWS


class InflatedBody:
    """Inflates a compressed body piece by piece. Not thread-safe.

    Args:
        coding: one that is `inflatable`.
    """

    __slots__ = ("_inflater", "_started", "_window")

    def __init__(self, coding: str) -> None:
        self._window = _WINDOWS[coding]
        self._inflater = zlib.decompressobj(self._window)
        self._started = False

    @property
    def complete(self) -> bool:
        """Whether the stream reached its end; a body of no bytes at all counts as complete."""
        return self._inflater.eof or not self._started

    def inflate(self, data: bytes, into: bytearray, most: int) -> bool:
        """Append what `data` inflates to, and return whether `into` is no larger than `most` bytes then.

        Raises:
            zlib.error: the data is not of that coding.
        """
        for start in range(0, len(data), _SLICE):
            rest = data[start : start + _SLICE]
            while rest:
                if not self._started and self._window == zlib.MAX_WBITS and rest[0] & 15 != _ZLIB:
                    # Some servers call the bare stream "deflate", without the container that belongs to it.
                    self._window = -zlib.MAX_WBITS
                    self._inflater = zlib.decompressobj(self._window)
                if self._inflater.eof:
                    # A gzip file may consist of several streams one after the other.
                    self._inflater = zlib.decompressobj(self._window)
                self._started = True
                into += self._inflater.decompress(rest, min(most - len(into) + 1, _MOST_AT_ONCE))
                if len(into) > most:
                    return False
                rest = self._inflater.unconsumed_tail or self._inflater.unused_data
        return True
