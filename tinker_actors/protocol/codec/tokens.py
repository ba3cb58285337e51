"""Token ids: checked, and written in either dialect, in a pass or two over them in C.

Part of the hot path. A list is encoded first and its text is looked at: what is no plain number leaves a sign, a point,
a letter, a quote or a bracket behind. An array never becomes Python numbers: the text of its ids is looked up.
"""

from __future__ import annotations

import functools
import struct
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from tinker_actors.errors import InvalidInputError
from tinker_actors.types.inputs import token_ids
from tinker_actors.types.scalars import plain_int, shown

TOKEN_LIMIT = 2**31
"""Token ids are below this: the wire's arrays have int32 (wire protocol 4.2)."""

_INT32 = np.dtype("<i4")
_encode = msgspec.json.Encoder().encode  # what is not JSON's own is a TypeError here

# Of lists up to this long, ids below 2**18 or so can't add up to the limit.
_SLICE = 8192
_LOOKED_UP = 2**18  # ids below this are looked up: every vocabulary there is
_THOUSANDS = 263
_FEW = 64  # for so few ids, looking up is no faster than writing


def json_ids(tokens: Any, where: str) -> bytes:
    """Return token ids as a JSON array. Thread-safe.

    Args:
        tokens: a list of ids, or a flat integer array.
        where: what to call them in a message.

    Raises:
        InvalidInputError: something that is no integer, negative, or not below `TOKEN_LIMIT`; the message names the
            position and the value.
    """
    if isinstance(tokens, np.ndarray):
        return _looked_up(tokens, _reach(tokens, where))
    if type(tokens) is not list:
        tokens = token_ids(tokens, where)
        if isinstance(tokens, np.ndarray):
            return json_ids(tokens, where)
    try:
        text = _encode(tokens)
    except (TypeError, UnicodeEncodeError):
        return _encode(_one_by_one(tokens, where))
    # What `_beyond` does with a short list, without a call.
    if _strange(text) or ((len(tokens) > _SLICE or sum(tokens) >= TOKEN_LIMIT) and _beyond(tokens)):
        return _encode(_one_by_one(tokens, where))
    return text


def int32_ids(tokens: Any, where: str) -> npt.NDArray[np.int32]:
    """Return token ids as a contiguous int32 array, little-endian; `where` and errors are those of `json_ids`."""
    if not isinstance(tokens, np.ndarray):
        return _packed(tokens, where)
    _reach(tokens, where)
    return np.ascontiguousarray(tokens, _INT32)


# ---------------------------------------------------------------- lists


def _strange(text: bytes) -> bool:
    """Return whether a JSON array holds anything but digits.

    A negative number has a sign, a float a point or an exponent, `true` and `false` an e, `null` an n, text a quote,
    an object a brace, and an array inside a second bracket.
    """
    return (
        b"-" in text
        or b"." in text
        or b"e" in text
        or b"n" in text
        or b'"' in text
        or b"{" in text
        or text.find(b"[", 1) > 0
    )


def _beyond(tokens: list[int]) -> bool:
    """Return whether some id, none of which is negative, may reach the limit. Adding is cheaper than comparing."""
    if len(tokens) <= _SLICE:
        return sum(tokens) >= TOKEN_LIMIT and max(tokens) >= TOKEN_LIMIT
    return any(_beyond(tokens[start : start + _SLICE]) for start in range(0, len(tokens), _SLICE))


def _packed(tokens: Any, where: str) -> npt.NDArray[np.int32]:
    ids = np.empty(len(tokens), _INT32)
    try:  # a third of what numpy takes for a list
        struct.pack_into(f"<{len(tokens)}i", ids.data, 0, *tokens)
    except (struct.error, TypeError):
        return np.array(_one_by_one(tokens, where), _INT32)
    # Negative ones, and those that may be False or True.
    if any(tokens[i] < 0 or isinstance(tokens[i], bool) for i in np.flatnonzero(ids < 2).tolist()):  # noqa: PLR2004
        _one_by_one(tokens, where)
    return ids


def _one_by_one(tokens: Any, where: str) -> list[int]:
    """Return ids of any integer type as plain ones, or raise for the first that is none."""
    return [_plain(token, f"{where}[{position}]") for position, token in enumerate(tokens)]


def _plain(token: Any, where: str) -> int:
    plain = plain_int(token, where)
    if not 0 <= plain < TOKEN_LIMIT:
        raise _refusal(plain, where)
    return plain


def _refusal(token: int, where: str) -> InvalidInputError:
    if token < 0:
        return InvalidInputError(f"{where} is the negative token id {shown(token)}; token ids are at least 0.")
    return InvalidInputError(f"{where} is the token id {shown(token)}; token ids are below {TOKEN_LIMIT}.")


# ---------------------------------------------------------------- arrays


def _reach(ids: npt.NDArray[Any], where: str) -> int:
    """Return all ids' bits in one number, which is in the range of a power of two if and only if each id is."""
    reach = int(np.bitwise_or.reduce(ids)) if ids.size else 0
    if not 0 <= reach < TOKEN_LIMIT:
        position = int(np.flatnonzero((ids < 0) | (ids >= TOKEN_LIMIT))[0])
        raise _refusal(int(ids[position]), f"{where}[{position}]")
    return reach


def _looked_up(ids: npt.NDArray[Any], reach: int) -> bytes:
    """Write ids as JSON without making Python numbers of them, an eighth of the cost; blanks fill up short ones."""
    if ids.size < _FEW or reach >= _LOOKED_UP:
        return _encode(ids.tolist())
    return b"[%b]" % _words()[ids].tobytes()[:-1]  # without the last comma


@functools.cache
def _words() -> npt.NDArray[np.uint64]:
    """Return the text of every id that is looked up, right-aligned, with a comma: 2 MB, made once in a millisecond."""
    thousands = np.array([f"{n:4d}" if n else "    " for n in range(_THOUSANDS)], "S4").view(np.uint32)
    words = np.empty((_THOUSANDS, 1000, 2), np.uint32)
    words[:, :, 0] = thousands[:, np.newaxis]
    words[:, :, 1] = np.array([f"{n:03d}," for n in range(1000)], "S4").view(np.uint32)
    words[0, :, 1] = np.array([f"{n:3d}," for n in range(1000)], "S4").view(np.uint32)
    return words.reshape(-1).view(np.uint64)
