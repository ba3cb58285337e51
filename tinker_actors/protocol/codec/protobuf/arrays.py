"""Arrays: raw little-endian bytes from a message into numpy, checked.

Everything here raises ValueError for bytes that can't be what their message says, so that nothing is ever read as
numbers that nobody sent. What is returned owns its memory and may be written to.
"""

from __future__ import annotations

import itertools
import math
import sys
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from tinker_actors.protocol.codec.protobuf.schema import BFLOAT16, FLOAT32, INT32, INT64
from tinker_actors.types.arrays import Array, TensorDtype
from tinker_actors.types.sampling import TopkArrays
from tinker_actors.types.tensors import csr_problem

ITEM_SIZES = {FLOAT32: 4, INT64: 8, INT32: 4, BFLOAT16: 2}
"""Bytes of a number, by the wire's DType."""

NAMES: dict[int, TensorDtype] = {FLOAT32: "float32", INT64: "int64", INT32: "int64", BFLOAT16: "float32"}
"""What each DType is once it is read: the two types that users see."""

_WIRE = {FLOAT32: "<f4", INT64: "<i8", INT32: "<i4", BFLOAT16: "<u2"}
_KINDS = {kind: (np.dtype(kind), np.dtype(kind).itemsize) for kind in _WIRE.values()}
_SWAPPED = sys.byteorder == "big"


class TensorParts(msgspec.Struct, frozen=True, eq=False):
    """A Tensor message, read.

    Attributes:
        values: flat, int64 or float32; for CSR only the stored values.
        dtype: name of the values' type.
        shape: the dense shape, or None for flat values as they are.
        crow_indices: CSR row pointers, int64, or None for a dense tensor.
        col_indices: CSR column indices, int64, or None for a dense tensor.
    """

    values: Array
    dtype: TensorDtype
    shape: list[int] | None
    crow_indices: npt.NDArray[np.int64] | None = None
    col_indices: npt.NDArray[np.int64] | None = None


def raw(data: bytes, kind: str, what: str) -> Array:
    """Return bytes as a flat array of native byte order.

    Args:
        data: the bytes.
        kind: what they hold: `"<f4"`, `"<i4"`, `"<i8"` or `"<u2"`.
        what: what to call them in a message.

    Raises:
        ValueError: not a whole number of items.
    """
    wire, size = _KINDS[kind]
    if len(data) % size:
        raise ValueError(f"{what} has {len(data)} bytes, which is no multiple of {size}")
    array = np.frombuffer(bytearray(data), wire)  # a bytearray, and not bytes, makes the array writable
    return array.astype(wire.newbyteorder("=")) if _SWAPPED else array


def widened(data: bytes, dtype: int, what: str) -> Array:
    """Return bytes as a flat array of one of the two types that users see: INT32 as int64, BFLOAT16 as float32.

    Raises:
        ValueError: a DType that is not known, or not a whole number of items.
    """
    if dtype not in _WIRE:
        raise ValueError(f"{what} has the dtype number {dtype}, which is not known")
    values = raw(data, _WIRE[dtype], what)
    if dtype == INT32:
        return values.astype(np.int64)
    if dtype == BFLOAT16:  # the upper half of a float32
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values


def batched(field: Any, count: int, what: str) -> list[Array]:
    """Return a BatchedTensor message as one array per datum, all of them views of one.

    Args:
        field: the message.
        count: how many datums there are.
        what: what to call it in a message.

    Raises:
        ValueError: offsets that don't fit the data or the number of datums, or a shape that doesn't.
    """
    values = widened(field.data, field.dtype, what)
    size = ITEM_SIZES[field.dtype]
    offsets = raw(field.offsets, "<i8", f"the offsets of {what}")
    if len(offsets) != count + 1:
        raise ValueError(f"{what} has {len(offsets)} offsets for {count} datums, which take {count + 1}")
    if offsets[0] < 0 or offsets[-1] > len(field.data) or (np.diff(offsets) < 0).any() or (offsets % size).any():
        raise ValueError(f"the offsets of {what} don't divide its {len(field.data)} bytes into items of {size}")
    bounds = (offsets // size).tolist()
    slices = [values[start:end] for start, end in itertools.pairwise(bounds)]
    if not field.trailing_shape:
        return slices
    return [_shaped(part, tuple(field.trailing_shape), what) for part in slices]


def _shaped(values: Array, trailing: tuple[int, ...], what: str) -> Array:
    row = math.prod(trailing)
    if min(trailing) < 0 or (values.size % row if row else values.size):
        raise ValueError(f"{what} has {values.size} values in a datum, which is no multiple of the shape {trailing}")
    return values.reshape(values.size // row if row else 0, *trailing)


def tensor_parts(tensor: Any, what: str) -> TensorParts:
    """Return a Tensor message, read.

    Raises:
        ValueError: it contradicts itself.
    """
    encoding = tensor.WhichOneof("encoding")
    shape = list(tensor.shape)
    if encoding is None:
        raise ValueError(f"{what} has no values")
    if any(n < 0 for n in shape):
        raise ValueError(f"{what} has the shape {shape}")
    if encoding == "sparse_csr":
        return _sparse(tensor, shape, what)
    values = widened(tensor.dense, tensor.dtype, what)
    if shape and math.prod(shape) != values.size:
        raise ValueError(f"{what} has {values.size} values, but shape {shape}")
    return TensorParts(values, NAMES[tensor.dtype], shape or None)


def _sparse(tensor: Any, shape: list[int], what: str) -> TensorParts:
    csr = tensor.sparse_csr
    values = widened(csr.values, tensor.dtype, what)
    rows = raw(csr.crow_indices, "<i8", f"the row pointers of {what}")
    columns = raw(csr.col_indices, "<i8", f"the column indices of {what}")
    problem = csr_problem(values.size, rows, columns, shape)
    if problem is not None:
        raise ValueError(f"{what} has {problem}")
    return TensorParts(values, NAMES[tensor.dtype], shape, rows, columns)


def topk(message: Any, what: str) -> TopkArrays | None:
    """Return a TopkLogprobs message as arrays, or None when it has no columns.

    Raises:
        ValueError: the bytes don't fit the two counts.
    """
    token_ids = raw(message.token_ids, "<i4", what)
    logprobs = raw(message.logprobs, "<f4", what)
    if not token_ids.size == logprobs.size == message.k * message.length:
        raise ValueError(
            f"{what} has {token_ids.size} tokens and {logprobs.size} logprobs for "
            f"{message.length} rows of {message.k} cells"
        )
    shape = message.length, message.k
    return (token_ids.reshape(shape), logprobs.reshape(shape)) if message.k else None
