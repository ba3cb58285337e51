"""Chunking: where a batch is cut, and how many bytes it is estimated to be.

Estimates, not measurements: they are made before anything is encoded, and servers tune their limits to them.
"""

from __future__ import annotations

from collections.abc import Sequence

from tinker_actors.errors import InvalidInputError
from tinker_actors.types.inputs import Datum, EncodedTextChunk, ImageChunk, ModelInput, ModelInputChunk
from tinker_actors.types.tensors import TensorData

BYTES_PER_NUMBER = 10
"""Estimated bytes of a token or number in JSON (wire protocol 6.3)."""


def split(weights: Sequence[int], max_count: int, max_bytes: int) -> list[range]:
    """Cut items into chunks, in order: each index is in exactly one chunk, and no chunk is empty.

    A chunk ends when it has `max_count` items, or when one more would exceed `max_bytes`; a single item above
    `max_bytes` is a chunk of its own (wire protocol 6.3).

    Args:
        weights: the items' estimated bytes.
        max_count: most items in a chunk, at least 1.
        max_bytes: most bytes in a chunk, unless it has a single item.
    """
    chunks: list[range] = []
    start, size = 0, 0
    for index, weight in enumerate(weights):
        if index > start and (size + weight > max_bytes or index - start >= max_count):
            chunks.append(range(start, index))
            start, size = index, 0
        size += weight
    if start < len(weights):
        chunks.append(range(start, len(weights)))
    return chunks


def datum_bytes(datum: Datum) -> int:
    """Return the estimated bytes of a datum in JSON: 10 a token or number, the raw size of an image."""
    return prompt_bytes(datum.model_input) + sum(_tensor_bytes(tensor) for tensor in datum.loss_fn_inputs.values())


def prompt_bytes(prompt: ModelInput) -> int:
    """Return the estimated bytes of an input in JSON: 10 a token, the raw size of an image.

    Raises:
        InvalidInputError: a chunk is of no kind that the wire knows.
    """
    size = 0
    for chunk in prompt.chunks:
        if type(chunk) is EncodedTextChunk:  # nearly always, and then without a call
            size += BYTES_PER_NUMBER * len(chunk.tokens)
        else:
            size += _chunk_bytes(chunk)
    return size


def _chunk_bytes(chunk: ModelInputChunk) -> int:
    if isinstance(chunk, EncodedTextChunk):
        return BYTES_PER_NUMBER * len(chunk.tokens)
    if isinstance(chunk, ImageChunk):
        return len(chunk.data)
    if hasattr(chunk, "location"):
        return len(chunk.location)
    raise InvalidInputError(f"An input is made of text and image chunks, not of {type(chunk).__name__}.")


def _tensor_bytes(tensor: TensorData) -> int:
    indices = len(tensor.sparse_crow_indices or ()) + len(tensor.sparse_col_indices or ())
    return BYTES_PER_NUMBER * (tensor._array.size + indices)
