"""Bodies that a server compressed although nobody asked for it.

We send `Accept-Encoding: identity`, but proxies in between sometimes compress anyway. The size limit applies to
what comes out, so that a few bytes can't fill the memory.
"""

from __future__ import annotations

import zlib

# zlib's number for "gzip container, largest window".
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


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

    def inflate(self, data: bytes, room: int) -> list[bytes] | None:
        """Return what `data` inflates to, or None when that is more than `room` bytes.

        Raises:
            zlib.error: the data is not gzip.
        """
        pieces: list[bytes] = []
        while data:
            if self._inflater.eof:
                # A gzip file may consist of several streams one after the other.
                self._inflater = zlib.decompressobj(_GZIP_WINDOW)
            self._started = True
            piece = self._inflater.decompress(data, room + 1)
            room -= len(piece)
            if room < 0:
                return None
            if piece:
                pieces.append(piece)
            data = self._inflater.unconsumed_tail or self._inflater.unused_data
        return pieces
