"""Tensor files: safetensors, read and written in one place."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from tinker_actors.local.core.ports import Arrays

_FLOATS = ("F16", "F32", "F64")


def packed(arrays: Arrays) -> bytes:
    """Return arrays as the content of a file."""
    # Memory is written as it lies, so views of a larger array have to be made whole first.
    return save({name: values.copy(order="C") for name, values in arrays.items()})


def unpacked(path: Path) -> Arrays:
    """Return the arrays of a file that `packed` made."""
    return load_file(path)


def read_weights(path: Path) -> Arrays:
    """Return the arrays of a file with a model's weights.

    Raises:
        ValueError: it is no such file, or holds a type that numpy has no name for (bfloat16, mostly).
    """
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 - not a dict
                dtype = file.get_slice(name).get_dtype()
                if dtype not in _FLOATS:
                    raise ValueError(f"{path}: {name} is {dtype}; only float32, float16 and float64 can be read")
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} can't be read: {error}") from error
