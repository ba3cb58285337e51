"""Weight files: the arrays of a `*.safetensors` file in float32.

The format is a length, a JSON table and the raw numbers, so it is read here: numpy has no bfloat16, which is what most
published models come in and what the format's own reader for numpy refuses. Float32 arrays are views of the mapped
file, so that nothing is read which is not used.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tinker_actors.local.engine.arrays import Floats

_LENGTH_BYTES = 8
_MOST_HEADER_BYTES = 100_000_000
"""The format's own limit."""


def _from_bfloat16(raw: np.ndarray[Any, np.dtype[Any]]) -> Floats:
    # bfloat16 is the upper half of a float32.
    wide: Floats = (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
    return wide


_READERS: dict[str, tuple[int, Callable[[np.ndarray[Any, np.dtype[Any]]], Floats]]] = {
    "F64": (8, lambda raw: raw.view("<f8").astype(np.float32)),
    "F32": (4, lambda raw: raw.view("<f4").astype(np.float32, copy=False)),
    "F16": (2, lambda raw: raw.view("<f2").astype(np.float32)),
    "BF16": (2, _from_bfloat16),
}
"""Name of a type in the file -> bytes of a number, and how raw bytes become float32."""


def read_tensors(path: Path) -> dict[str, Floats]:
    """Read all arrays of a safetensors file, by name, as float32.

    Args:
        path: The file; float32 arrays stay mapped to it, read-only, as long as they live.

    Raises:
        OSError: The file can't be read.
        ValueError: It is no safetensors file, it is cut short, or an array is of a type other than float64, float32,
            float16 and bfloat16; the message names the file and the array.
    """
    size = path.stat().st_size
    if size < _LENGTH_BYTES:
        raise ValueError(f"{path} is no safetensors file: it has {size} bytes")
    content = np.memmap(path, np.uint8, "r")
    header_bytes = int.from_bytes(content[:_LENGTH_BYTES].tobytes(), "little")
    start = _LENGTH_BYTES + header_bytes
    if header_bytes > _MOST_HEADER_BYTES or start > size:
        raise ValueError(f"{path} is no safetensors file, or cut short: its header has {header_bytes} bytes")
    table = _table(content[_LENGTH_BYTES:start].tobytes(), path)
    return {name: _array(content[start:], entry, f"{path}: {name}") for name, entry in table.items()}


def _table(header: bytes, path: Path) -> dict[str, Any]:
    try:
        table = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no safetensors file: its header is no JSON ({error})") from error
    if not isinstance(table, dict):
        raise ValueError(f"{path} is no safetensors file: its header is no table")  # noqa: TRY004 - input, not a bug
    return {name: entry for name, entry in table.items() if name != "__metadata__"}


def _array(numbers: np.ndarray[Any, np.dtype[Any]], entry: Any, where: str) -> Floats:
    try:
        kind, shape, (begin, end) = str(entry["dtype"]), [int(n) for n in entry["shape"]], entry["data_offsets"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: its entry in the header makes no sense") from error
    if not all(type(number) is int for number in (begin, end, *entry["shape"])) or min(shape, default=0) < 0:
        raise ValueError(f"{where}: its entry in the header makes no sense")
    if kind not in _READERS:
        raise ValueError(f"{where} is of type {kind}; only {', '.join(_READERS)} can be read")
    width, convert = _READERS[kind]
    if not 0 <= begin <= end <= len(numbers):
        raise ValueError(f"{where} lies at bytes {begin} to {end}, but the file has {len(numbers)}: it is cut short")
    if end - begin != width * math.prod(shape):
        raise ValueError(f"{where} has {end - begin} bytes, which is not what {shape} of {kind} takes")
    try:
        return convert(numbers[begin:end]).reshape(shape)
    except ValueError as error:
        raise ValueError(f"{where} can't have the shape that its entry tells: {error}") from error
