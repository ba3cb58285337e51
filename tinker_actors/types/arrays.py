"""Arrays: what programs hold numbers in, taken exactly or refused by its name.

numpy turns nearly anything into nearly anything: 2.7 into 2, "3" into 3, None into NaN, what is masked into what lies
below the mask. Nothing here is left to that. What keeps its value is taken, whatever holds it: lists and other
sequences, arrays of numpy, torch, pandas, polars, arrow and jax on any device, memory of `array.array`, small integers,
bfloat16. Floats are rounded to the wire's float32; nothing else is changed.
"""

from __future__ import annotations

import array
import struct
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Literal, get_args

import msgspec
import numpy as np
import numpy.typing as npt

from tinker_actors.errors import InvalidInputError
from tinker_actors.types.scalars import INT64, plain_int, plain_number, shown, unwrapped

TensorDtype = Literal["int64", "float32"]
TENSOR_DTYPES: tuple[str, ...] = get_args(TensorDtype)

Array = npt.NDArray[Any]

NUMPY: dict[str, np.dtype[Any]] = {name: np.dtype(name) for name in TENSOR_DTYPES}
"""numpy's dtype for each of the wire's."""

_PACKED = {"int64": "q", "float32": "f"}
_PLAIN = (int, float)
# float32 has every integer up to this, and beyond it every other one at best.
_EXACT_IN_FLOAT32 = 2**24
_LARGEST = float(np.finfo(np.float32).max)
_EXACT_BITS = np.array(_EXACT_IN_FLOAT32, np.float32).view(np.uint32)
_WITHOUT_SIGN = np.uint32(2**31 - 1)


def wire_dtype(dtype: np.dtype[Any]) -> TensorDtype:
    """Return the wire's name for a numpy dtype (wire protocol 3.2), those of ml_dtypes included.

    Raises:
        InvalidInputError: neither floats nor integers.
    """
    kind = dtype.kind
    if kind == "f":
        return "float32"
    if kind in "iu":
        return "int64"
    if kind == "V" and np.can_cast(dtype, np.int64, "safe"):  # ml_dtypes: its int4, and in the next line its bfloat16
        return "int64"
    if kind == "V" and np.can_cast(dtype, np.float32, "safe"):
        return "float32"
    raise InvalidInputError(
        f"dtype {dtype} has no name on the wire: use a float (sent as float32) or an integer (sent as int64)."
    )


# ---------------------------------------------------------------- what holds numbers of one type


def as_array(value: Any, where: str) -> Array | None:
    """Return the array in which somebody holds values of one type, or None for anything else, such as a list.

    Args:
        value: an array of whatever library, or anything else. Its memory is shared where that is possible.
        where: what to call it in a message.

    Raises:
        InvalidInputError: it doesn't give its values away, or some of them are missing or masked.
    """
    if isinstance(value, np.ndarray):
        if not hasattr(value, "mask"):  # only masked ones have; asking numpy for their class loads them
            return value
        if np.ma.is_masked(value):
            raise InvalidInputError(f"{where} has masked values; fill them or leave them out first.")
    try:
        if hasattr(value, "detach"):
            found = _of_torch(value)
        elif is_text(value):  # also as a view, which numpy takes for small integers
            return None
        elif hasattr(value, "__array__") or isinstance(value, array.array | memoryview):
            found = np.asarray(value)
        else:
            return None
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInputError(f"{where} is a {type(value).__name__} that can't be read: {error}.") from error
    if found.dtype.kind == "f" and _has_gaps(value):  # only there do gaps look like numbers
        raise InvalidInputError(f"{where} is a {type(value).__name__} with missing values; fill them first.")
    return found


def _of_torch(tensor: Any) -> Array:
    """Return a torch tensor's values: from any device, dense, in a type that numpy has."""
    tensor = tensor.detach().cpu()
    if str(tensor.layout) != "torch.strided":
        tensor = tensor.to_dense()
    tensor = tensor.resolve_conj().resolve_neg()
    if tensor.is_floating_point() and tensor.element_size() <= 2:  # noqa: PLR2004 - numpy lacks bfloat16 and smaller
        tensor = tensor.float()
    found: Array = tensor.numpy()
    return found


def _has_gaps(value: Any) -> bool:
    """Return whether a column of integers or flags has gaps, which its library writes as NaN."""
    gaps = getattr(value, "null_count", None)  # polars and arrow
    if gaps is not None:
        return bool(gaps() if callable(gaps) else gaps)
    # pandas: in a column of plain floats NaN is a value, in one that knows gaps it is none.
    return bool(getattr(value, "hasnans", False)) and not isinstance(value.dtype, np.dtype)


def listed(value: Any, where: str) -> list[Any]:
    """Return something that has values in order as a list.

    Raises:
        InvalidInputError: text, bytes, something without an order, or nothing that can be iterated over.
    """
    if isinstance(value, list):
        return value
    if is_text(value):
        raise InvalidInputError(f"{where} can't be made of {type(value).__name__}: it is text, and numbers are needed.")
    if isinstance(value, AbstractSet):
        raise InvalidInputError(f"{where} can't be made of {type(value).__name__}: it has no order.")
    if isinstance(value, Mapping):
        keys = ", ".join(shown(key) for key in list(value)[:5])
        raise InvalidInputError(f"{where} can't be made of {type(value).__name__}: give one of its values ({keys}).")
    if not isinstance(value, Iterable):
        raise InvalidInputError(f"{where} can't be made of {type(value).__name__}; a list or an array is needed.")
    return list(value)


def is_text(value: Any) -> bool:
    """Return whether a value is text or bytes, or a view of them."""
    if isinstance(value, memoryview):
        value = value.obj
    return isinstance(value, str | bytes | bytearray)


# ---------------------------------------------------------------- into the wire's two types


def exact(values: Array, dtype: TensorDtype, where: str, *, flags: bool = False) -> Array:
    """Return an array's values as a wire dtype; an array that has it already is returned itself.

    Args:
        values: numbers of one type, or objects, which are looked at one by one.
        dtype: what they shall be.
        where: what to call them in a message.
        flags: take bools, as 0 and 1.

    Raises:
        InvalidInputError: something that is no number or would not keep its value.
    """
    if values.dtype == NUMPY[dtype]:
        return values
    kind = values.dtype.kind
    if kind == "O":
        return np.reshape(_one_by_one(values.reshape(-1).tolist(), dtype, where, flags=flags), values.shape)
    if kind == "b" and flags:
        return values.astype(NUMPY[dtype])
    try:
        name = wire_dtype(values.dtype)
    except InvalidInputError as error:
        raise InvalidInputError(f"{where}: {error.message}") from None
    if dtype == "float32":
        return _floats(values, where)
    return _whole(values, where) if name == "float32" else _integers(values, where)


def _integers(values: Array, where: str) -> Array:
    if values.dtype == np.uint64 and values.size and int(values.max()) not in INT64:
        raise _unfit(values, values > INT64[-1], where, "int64 ends at 2**63 - 1")
    return values.astype(np.int64)


def _whole(values: Array, where: str) -> Array:
    wide = values.astype(np.float64)
    bad = ~((np.trunc(wide) == wide) & (wide >= INT64[0]) & (wide < -float(INT64[0])))
    if bad.any():
        raise _unfit(values, bad, where, "it must be a whole number")
    return wide.astype(np.int64)


def _floats(values: Array, where: str) -> Array:
    """Return floats rounded to float32, and integers as the same floats."""
    try:
        with np.errstate(over="raise"):
            floats = values.astype(np.float32)
    except FloatingPointError:
        raise _unfit(
            values, np.isfinite(values) & (np.abs(values) > _LARGEST), where, "float32 ends at 3.4e38"
        ) from None
    if values.dtype.kind in "iu":
        far = np.abs(floats) >= _EXACT_IN_FLOAT32
        pairs = zip(values[far].tolist(), floats[far].tolist(), strict=True)
        far[far] = [had != int(has) for had, has in pairs]
        if far.any():
            raise _unfit(values, far, where, "float32 has no such integer")
    return floats


def _unfit(values: Array, bad: Array, where: str, why: str) -> InvalidInputError:
    """Return the refusal of the first of the values that are marked as bad."""
    flat = int(np.flatnonzero(bad)[0])
    place = "".join(f"[{i}]" for i in np.unravel_index(flat, values.shape))
    return InvalidInputError(f"{where}{place} is {values.reshape(-1)[flat]}; {why}.")


def values_of(data: Any, dtype: TensorDtype, where: str, *, flags: bool = False) -> Array:
    """Return values as an array of a wire dtype; an array that has it already is returned itself.

    Args:
        data: an array, or a list of numbers, or of such lists, all equally long.
        dtype: what they shall be. Floats are taken as integers where they are whole.
        where: what to call them in a message.
        flags: take bools, as 0 and 1.

    Raises:
        InvalidInputError: ragged, no numbers, or numbers that would not keep their value; the message has the place.
    """
    held = as_array(data, where)
    if held is not None:
        return exact(held, dtype, where, flags=flags)
    items = listed(data, where)
    if items and type(items[0]) in _PLAIN:
        packed = _packed(items, dtype)
        if packed is not None:
            return packed
    try:
        if any(_is_row(item) for item in items):
            return _stacked(items, dtype, where, flags=flags)
    except RecursionError:
        raise InvalidInputError(f"{where} is nested too deeply, or contains itself.") from None
    return _one_by_one(items, dtype, where, flags=flags)


def _packed(items: list[Any], dtype: TensorDtype) -> Array | None:
    """Return a flat list of plain numbers as an array, at a third of what numpy takes for it; None for any other list.

    What is left out here is looked at one by one: a bool, a float among integers, text, None, a number out of range.
    """
    try:
        if dtype == "float32":  # packing would take bools, too, and half of a complex number
            msgspec.convert(items, list[int] if type(items[0]) is int else list[float])
        packed = np.empty(len(items), NUMPY[dtype])
        struct.pack_into(f"{len(items)}{_PACKED[dtype]}", packed.data, 0, *items)
    except (msgspec.ValidationError, struct.error, TypeError, OverflowError):
        return None
    if dtype == "float32":
        large = (packed.view(np.uint32) & _WITHOUT_SIGN) >= _EXACT_BITS  # NaN and what became infinite, too
        return None if large.any() else packed
    small = np.flatnonzero(packed.view(np.uint64) < 2).tolist()  # noqa: PLR2004 - 0 and 1, which may be bools
    return packed if all(type(items[i]) is int for i in small) else None


def _is_row(item: Any) -> bool:
    if isinstance(item, int | float) or is_text(item):
        return False
    return isinstance(item, list | tuple | range) or getattr(item, "shape", ()) != () or _has_length(item)


def _has_length(item: Any) -> bool:
    return isinstance(item, Sequence | array.array | memoryview)


def _stacked(items: list[Any], dtype: TensorDtype, where: str, *, flags: bool) -> Array:
    rows = [
        values_of(item, dtype, f"{where}[{i}]", flags=flags) if _is_row(item) else None for i, item in enumerate(items)
    ]
    first = next(row for row in rows if row is not None)
    for i, row in enumerate(rows):
        if row is None or row.shape != first.shape:
            shape = "a single value" if row is None else f"of the shape {list(row.shape)}"
            raise InvalidInputError(
                f"{where} needs to be rectangular, but {where}[{i}] is {shape}, and others are of the shape "
                f"{list(first.shape)}."
            )
    return np.stack([row for row in rows if row is not None])


def _one_by_one(items: list[Any], dtype: TensorDtype, where: str, *, flags: bool) -> Array:
    """Return numbers of any kinds as an array, or raise for the first that is none or would not keep its value."""
    found = np.empty(len(items), NUMPY[dtype])
    one = _an_int if dtype == "int64" else _a_float
    for i, item in enumerate(items):
        if flags and isinstance(item, bool | np.bool_):
            found[i] = item
        else:
            found[i] = one(item, f"{where}[{i}]")
    return found


def _an_int(item: Any, where: str) -> int:
    item = unwrapped(item)
    if isinstance(item, float) and item.is_integer():
        item = int(item)
    whole = plain_int(item, where)
    if whole not in INT64:
        raise InvalidInputError(f"{where} is {shown(whole)}; int64 ends at 2**63 - 1.")
    return whole


def _a_float(item: Any, where: str) -> float:
    number = plain_number(item, where)
    with np.errstate(over="ignore"):
        rounded = float(np.float32(number))
    if isinstance(item, int) and abs(item) >= _EXACT_IN_FLOAT32 and rounded != item:
        raise InvalidInputError(f"{where} is {shown(item)}; float32 has no such integer.")
    if abs(rounded) == np.inf and abs(number) != np.inf:
        raise InvalidInputError(f"{where} is {shown(item)}; float32 ends at 3.4e38.")
    return rounded
