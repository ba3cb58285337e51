"""Tensors as they cross the wire: an array, its dtype by the protocol's name, and its shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinker_actors.errors import InvalidInputError
from tinker_actors.loading import load
from tinker_actors.types.arrays import (
    TENSOR_DTYPES,
    Array,
    TensorDtype,
    as_array,
    exact,
    values_of,
    wire_dtype,
)
from tinker_actors.types.scalars import plain_int, shown

if TYPE_CHECKING:
    import torch

_MATRIX = 2


class TensorData:
    """A dense tensor of any rank, or a two-dimensional one in sparse CSR form.

    The values are kept as a numpy array. `TensorData` is not changed after construction and may be read from any
    thread; it shares memory with a numpy array it was made from when the dtype already fits.

    Args:
        data: the values, as a (nested) list or array. For CSR only the stored values.
        dtype: `"int64"` or `"float32"`. Values of other types are taken where they keep their value; floats are rounded
            to float32, bools are 0 and 1 in float32 and refused in int64.
        shape: the shape to give to flat `data`; default: the shape of `data`. For CSR the dense shape, required.
        sparse_crow_indices: CSR row pointers, length rows + 1.
        sparse_col_indices: CSR column indices, one per stored value.

    Raises:
        InvalidInputError: a dtype the wire has no name for, something that is no number or would not keep its value,
            a shape that does not fit the number of values, or indices that don't place each value in the shape.
    """

    __slots__ = ("_array", "dtype", "shape", "sparse_col_indices", "sparse_crow_indices")

    def __init__(
        self,
        data: Sequence[Any] | Array | None = None,
        dtype: TensorDtype | None = None,
        shape: Sequence[int] | None = None,
        sparse_crow_indices: Sequence[int] | None = None,
        sparse_col_indices: Sequence[int] | None = None,
    ) -> None:
        if dtype not in TENSOR_DTYPES:
            raise InvalidInputError(f"TensorData needs dtype 'int64' or 'float32', not {shown(dtype)}.")
        self.dtype: TensorDtype = dtype
        array = values_of([] if data is None else data, dtype, "data", flags=dtype == "float32")
        sizes = None if shape is None else tuple(plain_int(size, f"shape[{i}]") for i, size in enumerate(shape))
        self.sparse_crow_indices: list[int] | None = None
        self.sparse_col_indices: list[int] | None = None
        if sparse_crow_indices is not None and sparse_col_indices is not None and sizes is not None:
            rows = values_of(sparse_crow_indices, "int64", "sparse_crow_indices")
            columns = values_of(sparse_col_indices, "int64", "sparse_col_indices")
            problem = csr_problem(array.size, rows, columns, sizes)
            if problem or array.ndim != 1:
                raise InvalidInputError(f"A sparse TensorData has {problem or 'values that are not flat'}.")
            self.sparse_crow_indices, self.sparse_col_indices = rows.tolist(), columns.tolist()
        elif sparse_crow_indices is not None or sparse_col_indices is not None:
            raise InvalidInputError("A sparse TensorData needs crow indices, column indices and the dense shape.")
        elif sizes is not None and sizes != array.shape:
            array = _shaped(array, sizes)
        self._array: Array = array
        self.shape: list[int] | None = list(array.shape if sizes is None else sizes)

    @classmethod
    def from_numpy(cls, array: Array) -> TensorData:
        """Make a tensor from an array: floats become float32 (bfloat16 and smaller ones exactly), integers int64.

        Raises:
            InvalidInputError: bool, complex or object arrays, for which the wire has no name; or values that are masked
                or missing, or too large for the wire's type.
        """
        return cls._of(array, "The array")

    @classmethod
    def from_torch(cls, tensor: torch.Tensor) -> TensorData:
        """Make a tensor from a torch tensor, on any device and in any layout; see `from_numpy`."""
        return cls._of(tensor, "The tensor")

    @classmethod
    def _of(cls, given: Any, where: str) -> TensorData:
        array = as_array(given, where)
        if array is None:
            raise InvalidInputError(f"{where} is a {type(given).__name__}, which is no array.")
        tensor = cls.__new__(cls)
        try:
            tensor.dtype = wire_dtype(array.dtype)
        except InvalidInputError as error:
            raise InvalidInputError(f"{where}: {error.message}") from None
        tensor._array = exact(array, tensor.dtype, where)
        tensor.shape = list(array.shape)
        tensor.sparse_crow_indices = tensor.sparse_col_indices = None
        return tensor

    @property
    def data(self) -> list[int] | list[float]:
        """The values as a flat list in row-major order (for CSR: the stored values)."""
        flat: list[int] | list[float] = self._array.reshape(-1).tolist()
        return flat

    def to_numpy(self) -> Array:
        """Return the dense array, shape `shape`, dtype int64 or float32; CSR cells that are absent are 0."""
        if self.sparse_crow_indices is None:
            return self._array
        assert self.sparse_col_indices is not None
        assert self.shape is not None
        dense = np.zeros(tuple(self.shape), dtype=self._array.dtype)
        rows = np.repeat(np.arange(self.shape[0]), np.diff(np.asarray(self.sparse_crow_indices)))
        dense[rows, np.asarray(self.sparse_col_indices, dtype=np.int64)] = self._array
        return dense

    def to_torch(self) -> torch.Tensor:
        """Return the dense tensor as a torch tensor of its own memory. Needs PyTorch."""
        load("torch")
        import torch  # noqa: PLC0415 - optional, and heavy

        return torch.from_numpy(self.to_numpy().copy())

    def tolist(self) -> list[Any]:
        """Return the dense values as lists nested like the shape."""
        nested: list[Any] = self.to_numpy().tolist()
        return nested

    def __len__(self) -> int:
        return self.shape[0] if self.shape else 0

    def __repr__(self) -> str:
        kind = "sparse " if self.sparse_crow_indices is not None else ""
        return f"TensorData({kind}{self.dtype}, shape={self.shape})"


def csr_problem(count: int, rows: Array, columns: Array, shape: Sequence[int]) -> str | None:
    """Return what is wrong with the indices of a sparse tensor, or None when each value has a cell.

    Args:
        count: how many values are stored.
        rows: row pointers, int64.
        columns: column indices, int64.
        shape: the dense shape.
    """
    if len(shape) != _MATRIX or min(shape) < 0:
        return f"the shape {list(shape)}, where two numbers are needed"
    if rows.shape != (shape[0] + 1,) or rows[0] != 0 or rows[-1] != count or (rows[1:] < rows[:-1]).any():
        return f"row pointers that don't divide {count} values into {shape[0]} rows"
    if columns.shape != (count,) or (count and not 0 <= columns.min() <= columns.max() < shape[1]):
        return f"column indices that don't fit {count} values and {shape[1]} columns"
    return None


def _shaped(array: Array, shape: tuple[int, ...]) -> Array:
    try:
        shaped = array.reshape(shape)
    except (TypeError, ValueError, OverflowError):
        shaped = array
    if shaped.shape != shape:  # also where numpy takes a negative length for one to be found out
        raise InvalidInputError(f"TensorData has {array.size} values, but shape {shown(list(shape))}.")
    return shaped
