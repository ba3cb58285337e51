"""Counting: how many fields a message has, before any of it is built.

An empty message takes two bytes on the wire and a hundred in memory, so what a body will become does not follow from
its size. The bytes are walked through without being copied, and no further than the limit.
"""

from __future__ import annotations

from typing import Any

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10

_LEAF: dict[int, Any] = {}
_NUMBERS: dict[int, Any] = {}
"""A packed field of numbers, each of which counts as a field of its own."""

_TENSOR = {2: _LEAF, 4: _NUMBERS}
_SPAN = {1: _LEAF, 2: _LEAF}
_CHUNK = {1: _LEAF, 2: {4: _LEAF}, 3: _LEAF}
_DATUM = {1: _CHUNK, 2: {2: _TENSOR}, 3: _SPAN, 4: _SPAN}
_REQUEST = {3: _DATUM, 5: _LEAF, 7: {2: _LEAF}}
"""The fields of a ForwardBackwardRequest that are messages (see wire.proto), by number, with theirs."""


class TooManyPartsError(ValueError):
    """A message has more fields than are allowed."""


def require_few_parts(body: bytes, most: int) -> None:
    """Check how many fields a ForwardBackwardRequest has, those of the messages in it included.

    Args:
        body: the message.
        most: how many there may be.

    Raises:
        TooManyPartsError: there are more.
        ValueError: no message.
    """
    parts, place = 0, 0
    open_messages = [(len(body), _REQUEST)]
    while open_messages:
        end, fields = open_messages[-1]
        if place == end:
            open_messages.pop()
            continue
        tag, place = _varint(body, place, end)
        parts += 1
        kind = tag & 7
        if kind == _BYTES:
            size, place = _varint(body, place, end)
            inner = fields.get(tag >> 3)
            if inner is _NUMBERS:
                parts += size
            if inner and place + size <= end:
                open_messages.append((place + size, inner))
                size = 0
            place += size
        elif kind == _VARINT:
            _, place = _varint(body, place, end)
        elif kind in (_FIXED32, _FIXED64):
            place += 4 if kind == _FIXED32 else 8
        else:
            raise ValueError("a field has a wire type that this format does not use")
        if place > end:
            raise ValueError("a field is longer than what holds it")
        if parts > most:
            raise TooManyPartsError(f"the message has more than {most} fields")


def _varint(body: bytes, place: int, end: int) -> tuple[int, int]:
    value = 0
    for count in range(min(_LONGEST_VARINT, end - place)):
        byte = body[place + count]
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:  # noqa: PLR2004 - the last one
            return value, place + count + 1
    raise ValueError("a number is cut short or too long")
