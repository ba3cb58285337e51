"""Inputs: prompts as chunks, and training examples."""

from __future__ import annotations

import array
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from tinker_actors.errors import InvalidInputError
from tinker_actors.types.tensors import Array, TensorData, TensorDtype

Tokens = list[int] | Array

# What a plain list means under each name (wire protocol 3.3); other names need a typed array.
_LIST_DTYPES: dict[str, TensorDtype] = {
    "target_tokens": "int64",
    "weights": "float32",
    "advantages": "float32",
    "logprobs": "float32",
    "clip_low_threshold": "float32",
    "clip_high_threshold": "float32",
    "sequence_ratio_mask": "float32",
}


class EncodedTextChunk(msgspec.Struct, eq=False, tag_field="type", tag="encoded_text"):
    """A run of token ids.

    Attributes:
        tokens: the ids, copied on construction: a list stays a list; an integer array, or what can be one (a torch
            tensor, an `array.array`, a memoryview), is a numpy array. Other sequences become lists.

    Raises:
        InvalidInputError: text, or an array that is not flat or not of integers.
    """

    tokens: Any

    def __post_init__(self) -> None:
        self.tokens = _copy_tokens(self.tokens)

    @property
    def length(self) -> int:
        """Number of tokens."""
        return len(self.tokens)


class ImageChunk(msgspec.Struct, eq=False, tag_field="type", tag="image"):
    """An image, embedded.

    Attributes:
        data: the file's bytes (base64 on the JSON wire).
        format: `"png"` or `"jpeg"`.
        expected_tokens: how many tokens the server should make of it; checked there.
    """

    data: bytes
    format: Literal["png", "jpeg"]
    expected_tokens: int | None = None

    @property
    def length(self) -> int:
        """Number of tokens, as expected.

        Raises:
            InvalidInputError: `expected_tokens` was not given.
        """
        return _expected(self.expected_tokens)


class ImageAssetPointerChunk(msgspec.Struct, eq=False, tag_field="type", tag="image_asset_pointer"):
    """An image that the server fetches itself.

    Attributes:
        location: path or URL.
        format: `"png"` or `"jpeg"`.
        expected_tokens: how many tokens the server should make of it.
    """

    location: str
    format: Literal["png", "jpeg"]
    expected_tokens: int | None = None

    @property
    def length(self) -> int:
        """Number of tokens, as expected.

        Raises:
            InvalidInputError: `expected_tokens` was not given.
        """
        return _expected(self.expected_tokens)


ModelInputChunk = EncodedTextChunk | ImageChunk | ImageAssetPointerChunk


class ModelInput(msgspec.Struct, eq=False):
    """A prompt or training input: chunks in order.

    Attributes:
        chunks: the parts; text parts hold token ids.
    """

    chunks: list[ModelInputChunk] = msgspec.field(default_factory=list)

    def __post_init__(self) -> None:
        self.chunks = list(self.chunks)

    @classmethod
    def from_ints(cls, tokens: Sequence[int] | Array) -> ModelInput:
        """Make an input of one text chunk from token ids (copied)."""
        return cls(chunks=[EncodedTextChunk(tokens=tokens)])

    @classmethod
    def empty(cls) -> ModelInput:
        """Make an input without chunks, to append to."""
        return cls(chunks=[])

    def append(self, chunk: ModelInputChunk) -> ModelInput:
        """Return a new input with `chunk` behind the others; this one is unchanged."""
        return ModelInput(chunks=[*self.chunks, chunk])

    def append_int(self, token: int) -> ModelInput:
        """Return a new input with one more token."""
        return self.append(EncodedTextChunk(tokens=[token]))

    def to_ints(self) -> list[int]:
        """Return all token ids as one list.

        Raises:
            InvalidInputError: there is a chunk that is not text.
        """
        ids: list[int] = []
        for chunk in self.chunks:
            if not isinstance(chunk, EncodedTextChunk):
                raise InvalidInputError(f"to_ints() needs text chunks only, found {type(chunk).__name__}.")
            tokens = chunk.tokens
            ids.extend(tokens.tolist() if isinstance(tokens, np.ndarray) else tokens)
        return ids

    @property
    def length(self) -> int:
        """Number of tokens in all chunks."""
        return sum(chunk.length for chunk in self.chunks)


LossFnInputs = dict[str, TensorData]


class Datum:
    """One training example.

    Position i of `model_input` predicts target i, so for supervised training the input is the sequence without its
    last token and the targets are the sequence without its first.

    Args:
        model_input: the input tokens, N of them.
        loss_fn_inputs: per-token values by name, e.g. `target_tokens` (N,) int64 and `weights` (N,) float32. Lists
            get the dtype of their name; numpy and torch values theirs. The dict is a new one and may be changed.

    Raises:
        InvalidInputError: a list under a name whose dtype is not known, a ragged list, or a dtype without a name on
            the wire.
    """

    __slots__ = ("loss_fn_inputs", "model_input")

    def __init__(self, model_input: ModelInput, loss_fn_inputs: Mapping[str, Any] | None = None) -> None:
        self.model_input = model_input
        self.loss_fn_inputs: LossFnInputs = {
            name: as_tensor(name, value) for name, value in (loss_fn_inputs or {}).items()
        }

    def __repr__(self) -> str:
        return f"Datum({len(self.model_input.chunks)} chunks, loss_fn_inputs={sorted(self.loss_fn_inputs)})"


def as_tensor(name: str, value: Any) -> TensorData:
    """Turn the loss input `name` into a `TensorData` by the dtype table.

    Raises:
        InvalidInputError: see `Datum`.
    """
    if isinstance(value, TensorData):
        return value
    if isinstance(value, np.ndarray):
        return TensorData.from_numpy(value)
    if hasattr(value, "detach"):
        return TensorData.from_torch(value)
    if isinstance(value, list | tuple):
        dtype = _LIST_DTYPES.get(name)
        if dtype is None:
            raise InvalidInputError(
                f"A plain list says nothing about the dtype of {name!r}: pass a numpy array or TensorData. "
                f"Lists are understood for {', '.join(sorted(_LIST_DTYPES))}."
            )
        return TensorData(value, dtype=dtype)
    raise InvalidInputError(f"Loss input {name!r} can't be made of {type(value).__name__}.")


def _copy_tokens(tokens: Any) -> Tokens:
    if isinstance(tokens, list):
        return tokens.copy()
    if isinstance(tokens, np.ndarray):
        return _copy_array(tokens)
    if isinstance(tokens, str | bytes | bytearray):
        raise InvalidInputError("Token ids are integers; encode the text with a tokenizer first.")
    if hasattr(tokens, "detach"):  # a torch tensor, maybe on another device
        tokens = tokens.detach().cpu()
    if hasattr(tokens, "__array__") or isinstance(tokens, array.array | memoryview):
        return _copy_array(np.asarray(tokens))
    return list(tokens)  # what is in it is checked when it is used, with its position


def _copy_array(tokens: Array) -> Array:
    if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
        raise InvalidInputError(f"Token ids need a flat integer array, not {tokens.dtype} {tokens.shape}.")
    return tokens.copy()


def _expected(tokens: int | None) -> int:
    if tokens is None:
        raise InvalidInputError("The length of an image is only known when expected_tokens is given.")
    return tokens
