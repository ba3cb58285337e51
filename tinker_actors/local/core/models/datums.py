"""Datums: training examples from the wire, checked and turned into arrays.

This runs on a worker thread: requests are megabytes, and what is wrong with one becomes its future's failure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tinker_actors.local.core.ports import Example
from tinker_actors.local.core.requests.messages import RefusedError
from tinker_actors.types.arrays import Array
from tinker_actors.types.tensors import TensorData
from tinker_actors.types.wire import WireDatum, WireModelInput, WireTensor

TARGETS = "target_tokens"

MOST_SPARSE_CELLS = 16 * 2**20
"""Cells that a request's sparse tensors may have in all when they are written out: 128 MiB as float64. Two numbers of a
shape would otherwise fill any memory."""

_MATRIX = 2  # dimensions


def tokens_of(model_input: WireModelInput) -> npt.NDArray[np.int64]:
    """Return the token ids of an input that is text only, (N,) int64.

    Raises:
        ValueError: there is a chunk of another kind, or an id that fits in no int64.
    """
    found = [np.empty(0, np.int64)]
    for chunk in model_input.chunks:
        if chunk.tokens is None or chunk.type not in (None, "encoded_text"):
            raise ValueError(f"this server takes text only, not a chunk of type {chunk.type or 'unknown'!r}")
        try:
            found.append(np.asarray(chunk.tokens, np.int64))
        except OverflowError as error:
            raise ValueError("a token id is too large for any vocabulary") from error
    return np.concatenate(found)


def require_context(data: Sequence[WireDatum], context_length: int) -> None:
    """Check the lengths of examples, which takes no look at their tokens.

    Raises:
        RefusedError: 400, one of them is longer than the context.
    """
    for index, datum in enumerate(data):
        length = sum(len(chunk.tokens) for chunk in datum.model_input.chunks if chunk.tokens is not None)
        if length > context_length:
            raise RefusedError(400, f"datum {index}: {_too_long(length, context_length)}.")


def _too_long(length: int, context_length: int) -> str:
    return f"model_input has {length} tokens, but the model's context is {context_length}"


def check_vocabulary(tokens: npt.NDArray[np.int64], vocab_size: int, what: str) -> None:
    """Check token ids against a vocabulary.

    Raises:
        ValueError: an id lies outside it.
    """
    outside = tokens[(tokens < 0) | (tokens >= vocab_size)]
    if outside.size:
        raise ValueError(f"{what} contains token {outside.flat[0]}, which is outside the vocabulary of {vocab_size}")


def examples_of(data: Sequence[WireDatum], vocab_size: int, context_length: int) -> list[Example]:
    """Return training examples as the engine takes them.

    Raises:
        ValueError: something about one of them is wrong; the message begins with its number. Or their sparse tensors
            are too large together.
    """
    cells = sum(_sparse_cells(tensor) for datum in data for tensor in datum.loss_fn_inputs.values())
    if cells > MOST_SPARSE_CELLS:
        raise ValueError(
            f"the request's sparse tensors have {cells} cells in all; this server takes at most {MOST_SPARSE_CELLS}"
        )
    examples = []
    for index, datum in enumerate(data):
        try:
            examples.append(_example(datum, vocab_size, context_length))
        except ValueError as error:
            raise ValueError(f"datum {index}: {error}") from error
    return examples


def _example(datum: WireDatum, vocab_size: int, context_length: int) -> Example:
    tokens = tokens_of(datum.model_input)
    if not len(tokens):
        raise ValueError("model_input has no tokens")
    if len(tokens) > context_length:
        raise ValueError(_too_long(len(tokens), context_length))
    check_vocabulary(tokens, vocab_size, "model_input")
    if TARGETS not in datum.loss_fn_inputs:
        raise ValueError(f"loss_fn_inputs lacks {TARGETS}")
    targets = array_of(datum.loss_fn_inputs[TARGETS], TARGETS)
    if targets.dtype != np.int64:
        raise ValueError(f"{TARGETS} must be int64, not {targets.dtype}")
    if targets.ndim < 1 or len(targets) != len(tokens):
        raise ValueError(f"{TARGETS} has shape {list(targets.shape)}, but model_input has {len(tokens)} tokens")
    check_vocabulary(targets, vocab_size, TARGETS)
    inputs = {
        name: _loss_input(name, tensor, targets.shape)
        for name, tensor in datum.loss_fn_inputs.items()
        if name != TARGETS
    }
    return Example(tokens, targets, inputs)


def _loss_input(name: str, tensor: WireTensor, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    values = array_of(tensor, name).astype(np.float64)
    if values.shape != shape:
        raise ValueError(f"{name} has shape {list(values.shape)}, but {TARGETS} has {list(shape)}")
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise ValueError(f"{name} holds {values.flat[bad[0]]} at position {bad[0]}")
    return values


def array_of(tensor: WireTensor, name: str) -> Array:
    """Return a tensor's dense values.

    Raises:
        ValueError: it contradicts itself, or is sparse and larger than `MOST_SPARSE_CELLS`.
    """
    if _sparse_cells(tensor) > MOST_SPARSE_CELLS:
        raise ValueError(f"{name}: the sparse shape {tensor.shape} has more than {MOST_SPARSE_CELLS} cells")
    try:
        return tensor_of(tensor).to_numpy()
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{name}: {error}") from error


def tensor_of(tensor: WireTensor) -> TensorData:
    """Return a tensor as it is, dense or sparse.

    Raises:
        ValueError: it contradicts itself.
        OverflowError: a value is too large for its type.
    """
    return TensorData(
        tensor.data,
        dtype=tensor.dtype,  # type: ignore[arg-type]  # checked there
        shape=tensor.shape,
        sparse_crow_indices=tensor.sparse_crow_indices,
        sparse_col_indices=tensor.sparse_col_indices,
    )


def _sparse_cells(tensor: WireTensor) -> int:
    """Return how many cells a sparse tensor has when it is written out; 0 for a dense one, which has them already."""
    if tensor.sparse_crow_indices is None:
        return 0
    return math.prod(max(0, size) for size in tensor.shape or ())
