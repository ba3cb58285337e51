"""Names for the array types of the engine: one spelling for signatures, whatever the precision is."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.floating[Any]]
"""An array in the model's precision: float32 in use, float64 where gradients are checked."""

Ints: TypeAlias = npt.NDArray[np.integer[Any]]
"""An array of token ids, positions or lengths."""


def frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Make an array read-only, so that what is shared between threads cannot change; returns the same array."""
    array.setflags(write=False)
    return array


def keep_freed_memory() -> None:
    """Have the C library keep memory that arrays give back, where it is glibc; elsewhere this does nothing.

    glibc returns large blocks to the system and gets them back zeroed, page by page, which costs a training step of a
    small model a fifth of its time. It stops doing that for blocks below the largest one freed so far, up to 32 MiB
    (mallopt(3), M_MMAP_THRESHOLD, "dynamic adjustment"), so one untouched block is taken and freed.
    """
    np.empty(31 * 2**20, np.uint8)
