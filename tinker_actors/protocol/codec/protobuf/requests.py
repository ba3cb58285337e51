"""Requests: training data from the caller's arrays into bytes, copied once.

This is written by hand and not with the message classes, which copy every array three times and take four times as
long: a request is a list of small headers with the arrays between them, joined at the end. Two encoded messages in a
row are one message with the fields of both, so the model and its number can go before what was encoded long ago.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinker_actors.errors import InvalidInputError
from tinker_actors.protocol.codec.protobuf.schema import FLOAT32, INT64
from tinker_actors.protocol.codec.tokens import int32_ids
from tinker_actors.types.inputs import Datum, EncodedTextChunk, ImageChunk, ModelInputChunk
from tinker_actors.types.tensors import TensorData

CONTENT_TYPE = "application/x-protobuf"

Piece = Any  # bytes or an array: whatever lends its memory to join()

_VARINT, _FIXED64, _DELIMITED = 0, 1, 2  # wire types
_DTYPES: dict[str, tuple[int, np.dtype[Any]]] = {
    "float32": (FLOAT32, np.dtype("<f4")),
    "int64": (INT64, np.dtype("<i8")),
}
_INDEX_BYTES = 8


def head(model_id: str, seq_id: int) -> bytes:
    """Return the head of a ForwardBackwardRequest: fields 1 and 2, to be put before a tail."""
    return _text(1, model_id) + _key(2, _VARINT) + _varint(seq_id)


def encode_forward_backward_tail(
    data: Sequence[Datum],
    loss_fn: str,
    loss_fn_config: Mapping[str, float | str] | None,
    *,
    forward_only: bool,
    first: int = 0,
) -> bytes:
    """Encode a ForwardBackwardRequest without its head: fields 3 to 7. Thread-safe.

    Args:
        data: the examples, checked before.
        loss_fn: name of the loss function.
        loss_fn_config: its numbers and strings by name. Numbers are written twice, for servers of both generations.
        forward_only: compute no gradient.
        first: index of the first example in the user's data, for messages.

    Raises:
        InvalidInputError: what this dialect can't say: a chunk that is neither text nor an embedded image, a token
            id that is none, or a name that is not text. The message names the datum.
    """
    pieces: list[Piece] = []
    for index, datum in enumerate(data, first):
        try:
            parts, size = _datum(datum)
        except InvalidInputError as error:
            raise InvalidInputError(f"data[{index}].{error.message}") from error
        pieces.append(_prefix(3, size))
        pieces += parts
    pieces.append(_text(4, loss_fn))
    config = loss_fn_config or {}
    pieces += [_message(5, _text(1, name) + _double(2, v)) for name, v in config.items() if not isinstance(v, str)]
    if forward_only:
        pieces.append(_key(6, _VARINT) + b"\1")
    pieces += [_message(7, _text(1, name) + _message(2, _config_value(v))) for name, v in config.items()]
    return b"".join(pieces)


def datum_bytes(datum: Datum) -> int:
    """Return the estimated bytes of a datum in this dialect, as the official client does for cutting a batch.

    4 a text token, the raw size of an image, a tensor's bytes and 8 for each CSR index (wire protocol 6.3).
    """
    size = sum(
        4 * len(chunk.tokens) if isinstance(chunk, EncodedTextChunk) else len(getattr(chunk, "data", b""))
        for chunk in datum.model_input.chunks
    )
    for tensor in datum.loss_fn_inputs.values():
        indices = len(tensor.sparse_crow_indices or ()) + len(tensor.sparse_col_indices or ())
        size += tensor._array.nbytes + _INDEX_BYTES * indices
    return size


# ---------------------------------------------------------------- a datum
# A frame is what lies before an array, what lies behind it, and the bytes of all three. Those of a batch are alike.

Frame = tuple[bytes, bytes, int]


def _datum(datum: Datum) -> tuple[list[Piece], int]:
    pieces: list[Piece] = []
    total = 0
    content: Piece
    for index, chunk in enumerate(datum.model_input.chunks):
        if isinstance(chunk, EncodedTextChunk):
            content = int32_ids(chunk.tokens, f"model_input.chunks[{index}].tokens")
            before, behind, size = _text_frame(content.nbytes)
        else:
            content, (before, behind, size) = _image(chunk, index)
        pieces += (before, content, behind)
        total += size
    for name, tensor in datum.loss_fn_inputs.items():
        number, kind = _DTYPES[tensor.dtype]
        content = np.ascontiguousarray(tensor._array, kind)
        if tensor.sparse_crow_indices is None:
            before, behind, size = _dense_frame(name, number, content.nbytes, tuple(tensor.shape or ()))
        else:
            before, behind, size = _sparse_frame(name, number, content.nbytes, tensor)
        pieces += (before, content, behind)
        total += size
    return pieces, total


@functools.lru_cache(4096)
def _text_frame(nbytes: int) -> Frame:
    before = _opening(1, nbytes)
    before, size = _enclose(1, before, len(before) + nbytes)
    before, size = _enclose(1, before, size)
    return before, b"", size


def _image(chunk: ModelInputChunk, index: int) -> tuple[bytes, Frame]:
    if not isinstance(chunk, ImageChunk):
        raise InvalidInputError(
            f"model_input.chunks[{index}] is an {type(chunk).__struct_config__.tag}, which protobuf training requests "
            "have no form for: fetch the image and embed it as an ImageChunk."
        )
    before = _opening(1, len(chunk.data))
    behind = _text(2, chunk.format)
    if chunk.expected_tokens is not None:
        behind += _key(3, _VARINT) + _varint(chunk.expected_tokens)
    before, size = _enclose(2, before, len(before) + len(chunk.data) + len(behind))
    before, size = _enclose(1, before, size)
    return chunk.data, (before, behind, size)


@functools.lru_cache(4096)
def _dense_frame(name: str, dtype: int, nbytes: int, shape: tuple[int, ...]) -> Frame:
    before = _prefix(1, nbytes)  # also without bytes: it tells that the tensor is dense
    return _named(name, before, nbytes, _described(dtype, shape))


def _sparse_frame(name: str, dtype: int, nbytes: int, tensor: TensorData) -> Frame:
    indices = _indices(2, tensor.sparse_crow_indices) + _indices(3, tensor.sparse_col_indices)
    before = _opening(1, nbytes)
    before, _ = _enclose(2, before, len(before) + nbytes + len(indices))
    return _named(name, before, nbytes, indices + _described(dtype, tuple(tensor.shape or ())))


def _named(name: str, before: bytes, nbytes: int, behind: bytes) -> Frame:
    """Make an entry of the loss inputs of a tensor's array and what lies around it."""
    before, size = _enclose(2, before, len(before) + nbytes + len(behind))
    key = _text(1, name)
    before, size = _enclose(2, key + before, len(key) + size)
    return before, behind, size


def _described(dtype: int, shape: tuple[int, ...]) -> bytes:
    """Return the fields of a tensor that say what its bytes are."""
    described = _key(3, _VARINT) + _varint(dtype)
    return described + _message(4, b"".join(map(_varint, shape))) if shape else described


def _enclose(number: int, before: bytes, size: int) -> tuple[bytes, int]:
    """Make a field of a message whose first bytes are `before` and which has `size` bytes in all."""
    opened = _prefix(number, size) + before
    return opened, size + len(opened) - len(before)


def _opening(number: int, size: int) -> bytes:
    """Return what lies before the bytes of a field. A field without bytes is left out, as proto3 does."""
    return _prefix(number, size) if size else b""


def _indices(number: int, values: list[int] | None) -> bytes:
    return _message(number, np.asarray(values, "<i8").tobytes()) if values else b""


def _config_value(value: float | str) -> bytes:
    return _message(2, _utf8(value)) if isinstance(value, str) else _double(1, value)


# ---------------------------------------------------------------- fields


@functools.lru_cache(4096)
def _prefix(number: int, size: int) -> bytes:
    """Return what lies before a field of `size` bytes. Cached: in a batch the sizes repeat."""
    return _key(number, _DELIMITED) + _varint(size)


def _key(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _varint(value: int) -> bytes:
    out = bytearray()
    value &= 2**64 - 1  # a negative number is its two's complement
    while value > 127:  # noqa: PLR2004 - seven bits
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _message(number: int, content: bytes) -> bytes:
    return _prefix(number, len(content)) + content


def _text(number: int, text: str) -> bytes:
    return _message(number, _utf8(text))


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"{text!r} is not text that can be sent: {error}.") from error


def _double(number: int, value: float) -> bytes:
    return _key(number, _FIXED64) + struct.pack("<d", value)
