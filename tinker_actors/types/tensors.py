"""Tensors as they cross the wire: an array, its dtype by the protocol's name, and its shape."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from tinker_actors.errors import InvalidInputError

if TYPE_CHECKING:
    import torch

TensorDtype = Literal["int64", "float32"]
TENSOR_DTYPES: tuple[str, ...] = get_args(TensorDtype)

Array = npt.NDArray[Any]

_NUMPY: dict[str, np.dtype[Any]] = {name: np.dtype(name) for name in TENSOR_DTYPES}
_PACKED = {"int64": "q", "float32": "f"}
_PLAIN = (int, float)


class TensorData:
    """A dense tensor of any rank, or a two-dimensional one in sparse CSR form.

    The values are kept as a numpy array. `TensorData` is not changed after construction and may be read from any
    thread; it shares memory with a numpy array it was made from when the dtype already fits.

    Args:
        data: the values, as a (nested) list or array. For CSR only the stored values.
        dtype: `"int64"` or `"float32"`; other values are converted to it.
        shape: the shape to give to flat `data`; default: the shape of `data`. For CSR the dense shape, required.
        sparse_crow_indices: CSR row pointers, length rows + 1.
        sparse_col_indices: CSR column indices, one per stored value.

    Raises:
        InvalidInputError: a dtype the wire has no name for, or a shape that does not fit the number of values.
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
            raise InvalidInputError(f"TensorData needs dtype 'int64' or 'float32', not {dtype!r}.")
        self.dtype: TensorDtype = dtype
        array = _values([] if data is None else data, dtype)
        sparse = sparse_crow_indices is not None
        if sparse != (sparse_col_indices is not None) or (sparse and shape is None):
            raise InvalidInputError("A sparse TensorData needs crow indices, column indices and the dense shape.")
        if not sparse:
            if shape is not None and tuple(shape) != array.shape:
                array = _shaped(array, tuple(shape))
            shape = array.shape
        self._array: Array = array
        self.shape: list[int] | None = None if shape is None else [int(n) for n in shape]
        self.sparse_crow_indices: list[int] | None = None
        self.sparse_col_indices: list[int] | None = None
        if sparse_crow_indices is not None and sparse_col_indices is not None:
            self.sparse_crow_indices = [int(i) for i in sparse_crow_indices]
            self.sparse_col_indices = [int(i) for i in sparse_col_indices]

    @classmethod
    def from_numpy(cls, array: Array) -> TensorData:
        """Make a tensor from an array: floats become float32, signed integers int64.

        Raises:
            InvalidInputError: bool, unsigned, complex or object arrays; the wire has no name for them.
        """
        tensor = cls.__new__(cls)
        tensor.dtype = wire_dtype(array.dtype)
        tensor._array = np.asarray(array, _NUMPY[tensor.dtype])
        tensor.shape = list(array.shape)
        tensor.sparse_crow_indices = tensor.sparse_col_indices = None
        return tensor

    @classmethod
    def from_torch(cls, tensor: torch.Tensor) -> TensorData:
        """Make a tensor from a torch tensor on any device; bfloat16 and float64 become float32, int32 int64."""
        detached = tensor.detach().cpu()
        if detached.is_floating_point():
            detached = detached.float()
        return cls.from_numpy(detached.contiguous().numpy())

    @property
    def data(self) -> list[Any]:
        """The values as a flat list in row-major order (for CSR: the stored values)."""
        flat: list[Any] = self._array.reshape(-1).tolist()
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


def _values(data: Any, dtype: TensorDtype) -> Array:
    """Return values as an array of a wire dtype; an array that has it already is returned itself.

    Raises:
        InvalidInputError: ragged, or not numbers.
    """
    if isinstance(data, list | tuple) and data and type(data[0]) in _PLAIN:
        packed = _packed(data, dtype)
        if packed is not None:
            return packed
    try:
        return np.asarray(data, _NUMPY[dtype])
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidInputError(f"TensorData needs a rectangular array of numbers: {error}.") from error


def _shaped(array: Array, shape: tuple[Any, ...]) -> Array:
    try:
        shaped = array.reshape(shape)
    except (TypeError, ValueError, OverflowError):
        shaped = array
    if shaped.shape != shape:  # also where numpy takes a negative length for one to be found out
        raise InvalidInputError(f"TensorData has {array.size} values, but shape {list(shape)}.")
    return shaped


def _packed(data: Sequence[Any], dtype: TensorDtype) -> Array | None:
    """Return a flat list of numbers as an array, a third of what numpy takes for it; None for any other list.

    What is refused here (a float among integers, text, None, a list, a number out of range) is for numpy to judge.
    """
    array = np.empty(len(data), _NUMPY[dtype])
    try:
        struct.pack_into(f"{len(data)}{_PACKED[dtype]}", array.data, 0, *data)
    except (struct.error, TypeError):
        return None
    return array


def wire_dtype(dtype: np.dtype[Any]) -> TensorDtype:
    """Return the wire's name for a numpy dtype (wire protocol 3.2).

    Raises:
        InvalidInputError: neither a float nor a signed integer.
    """
    if dtype.kind == "f":
        return "float32"
    if dtype.kind == "i":
        return "int64"
    raise InvalidInputError(
        f"dtype {dtype} has no name on the wire: use a float (sent as float32) or a signed integer (sent as int64)."
    )
