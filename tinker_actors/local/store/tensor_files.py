"""Tensor files: safetensors, read and written in one place."""

from __future__ import annotations

from safetensors.numpy import load, save

from tinker_actors.local.core.ports import Arrays


def packed(arrays: Arrays) -> bytes:
    """Return arrays as the content of a file."""
    # Memory is written as it lies, so views of a larger array have to be made whole first.
    return save({name: values.copy(order="C") for name, values in arrays.items()})


def unpacked(content: bytes) -> Arrays:
    """Return the arrays of a file with the content that `packed` made."""
    return load(content)
