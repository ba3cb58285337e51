"""Bodies that a server compressed although nobody asked for it.

We send `Accept-Encoding: identity`, but proxies in between sometimes compress anyway. The size limit applies to
what comes out, so that a few bytes can't fill the memory.
"""

from __future__ import annotations

import zlib

# zlib's number for "gzip container, largest window".
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
# What follows a stream is copied when it ends, and there may be a stream in every 20 bytes.
_SLICE = 4096
_MOST_AT_ONCE = 1024 * 1024


class GzipBody:
    """Inflates a gzip stream piece by piece. Not thread-safe."""

    __slots__ = ("_inflater", "_started")

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(_GZIP_WINDOW)
        self._started = False

    @property
    def complete(self) -> bool:
        """Whether the stream reached its end; a body of no bytes at all counts as complete."""
        return self._inflater.eof or not self._started

    def inflate(self, data: bytes, into: bytearray, most: int) -> bool:
        """Append what `data` inflates to, and return whether `into` is no larger than `most` bytes then.

        Raises:
            zlib.error: the data is not gzip.
        """
        for start in range(0, len(data), _SLICE):
            rest = data[start : start + _SLICE]
            while rest:
                if self._inflater.eof:
                    # A gzip file may consist of several streams one after the other.
                    self._inflater = zlib.decompressobj(_GZIP_WINDOW)
                self._started = True
                into += self._inflater.decompress(rest, min(most - len(into) + 1, _MOST_AT_ONCE))
                if len(into) > most:
                    return False
                rest = self._inflater.unconsumed_tail or self._inflater.unused_data
        return True
