"""Inputs: prompts as chunks, and training examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import msgspec
import numpy as np

from tinker_actors.errors import InvalidInputError
from tinker_actors.types.arrays import Array, TensorDtype, as_array, is_text, listed, values_of
from tinker_actors.types.scalars import checked_int, checked_text, plain_int, shown
from tinker_actors.types.spelling import did_you_mean
from tinker_actors.types.tensors import TensorData

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
# Under these, true and false mean 1 and 0; elsewhere on the wire a bool is no number.
_FLAGS = frozenset({"weights", "sequence_ratio_mask"})

ImageFormat = Literal["png", "jpeg"]


class EncodedTextChunk(msgspec.Struct, eq=False, tag_field="type", tag="encoded_text"):
    """A run of token ids.

    Attributes:
        tokens: the ids, copied on construction: a list stays a list, of plain integers; an integer array, or what can
            be one (a torch tensor, a column of pandas or polars, an `array.array`), is a numpy array. Of a tokenizer's
            encoding of one text its ids are taken. Other sequences become lists. Whether ids are in the wire's range is
            seen when the chunk is used.

    Raises:
        InvalidInputError: text, something without an order, an item that is no integer, an array that is not flat or
            not of integers, or an encoding of several texts or with padding.
    """

    tokens: Any

    def __post_init__(self) -> None:
        given, where = self.tokens, "Token ids"
        self.tokens = _integers(given, where) if type(given) is list else token_ids(given, where)

    @property
    def length(self) -> int:
        """Number of tokens."""
        return len(self.tokens)


class ImageChunk(msgspec.Struct, eq=False, tag_field="type", tag="image"):
    """An image, embedded.

    Attributes:
        data: the file's bytes (base64 on the JSON wire).
        format: `"png"` or `"jpeg"`.
        expected_tokens: how many tokens the server should make of it, at least 1; checked there.

    Raises:
        InvalidInputError: data that are no bytes or none at all, another format, or no number of tokens.
    """

    data: bytes
    format: ImageFormat
    expected_tokens: int | None = None

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Check the fields, and make them plain; they may have been changed.

        Raises:
            InvalidInputError: as for the constructor.
        """
        data: Any = self.data
        if not isinstance(data, bytes | bytearray | memoryview):
            raise InvalidInputError(f"The image's data are a {type(data).__name__}; give the bytes of its file.")
        if not len(data):
            raise InvalidInputError("The image's data are empty.")
        self.data = bytes(data)
        self.format, self.expected_tokens = _image_facts(self.format, self.expected_tokens)

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
        expected_tokens: how many tokens the server should make of it, at least 1.

    Raises:
        InvalidInputError: a location that is no text, another format, or no number of tokens.
    """

    location: str
    format: ImageFormat
    expected_tokens: int | None = None

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Check the fields, and make them plain; they may have been changed.

        Raises:
            InvalidInputError: as for the constructor.
        """
        self.location = checked_text(self.location, "The image's location")
        self.format, self.expected_tokens = _image_facts(self.format, self.expected_tokens)

    @property
    def length(self) -> int:
        """Number of tokens, as expected.

        Raises:
            InvalidInputError: `expected_tokens` was not given.
        """
        return _expected(self.expected_tokens)


ModelInputChunk = EncodedTextChunk | ImageChunk | ImageAssetPointerChunk
_CHUNKS = (EncodedTextChunk, ImageChunk, ImageAssetPointerChunk)


class ModelInput(msgspec.Struct, eq=False):
    """A prompt or training input: chunks in order.

    Attributes:
        chunks: the parts; text parts hold token ids.

    Raises:
        InvalidInputError: something else among the chunks, such as token ids.
    """

    chunks: list[ModelInputChunk] = msgspec.field(default_factory=list)

    def __post_init__(self) -> None:
        given = self.chunks
        self.chunks = chunks = (given if type(given) is list else listed(given, "An input")).copy()
        for index, chunk in enumerate(chunks):
            if not isinstance(chunk, _CHUNKS):
                raise InvalidInputError(
                    f"chunks[{index}] is {shown(chunk)}, which is no chunk; ModelInput.from_ints makes an input of "
                    "token ids."
                )

    @classmethod
    def from_ints(cls, tokens: Sequence[int] | Array) -> ModelInput:
        """Make an input of one text chunk from token ids (copied).

        Raises:
            InvalidInputError: see `EncodedTextChunk`.
        """
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


Prompt = ModelInput | Sequence[int] | Array
"""What is taken where an input is wanted: one that is made, or the token ids of a text."""


def as_model_input(value: Any, where: str) -> ModelInput:
    """Return an input as it is, and one of what token ids can be made of.

    Args:
        value: an input, or what `EncodedTextChunk` takes.
        where: what to call it in a message.

    Raises:
        InvalidInputError: neither of them.
    """
    if isinstance(value, ModelInput):
        return value
    if isinstance(value, _CHUNKS):
        raise InvalidInputError(f"{where} is a single chunk; ModelInput([chunk]) makes an input of it.")
    return ModelInput([EncodedTextChunk(token_ids(value, where))])


LossFnInputs = dict[str, TensorData]


class Datum:
    """One training example.

    Position i of `model_input` predicts target i, so for supervised training the input is the sequence without its
    last token and the targets are the sequence without its first.

    Args:
        model_input: the input tokens, N of them; their ids alone are taken, too.
        loss_fn_inputs: per-token values by name, e.g. `target_tokens` (N,) int64 and `weights` (N,) float32. Lists
            get the dtype of their name; arrays, tensors and columns theirs; bools are taken under `weights` and
            `sequence_ratio_mask`. The dict is a new one and may be changed.

    Raises:
        InvalidInputError: no input, a list under a name whose dtype is not known, a ragged list, a value that is no
            number or would not keep its value, or a dtype without a name on the wire.
    """

    __slots__ = ("loss_fn_inputs", "model_input")

    def __init__(self, model_input: Prompt, loss_fn_inputs: Mapping[str, Any] | None = None) -> None:
        self.model_input: ModelInput = as_model_input(model_input, "model_input")
        if not isinstance(loss_fn_inputs, Mapping | None):
            raise InvalidInputError(
                f"loss_fn_inputs is a {type(loss_fn_inputs).__name__}; give a dict of name to values."
            )
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
    where = f"loss_fn_inputs[{shown(name)}]"
    flags = name in _FLAGS
    array = as_array(value, where)
    if array is not None and array.dtype.kind != "O" and not (flags and array.dtype.kind == "b"):
        return TensorData._of(array, where)
    items = array if array is not None else listed(value, where)
    dtype = _LIST_DTYPES.get(name)
    if dtype is None:
        raise InvalidInputError(
            f"A plain list says nothing about the dtype of {shown(name)}{did_you_mean(name, _LIST_DTYPES)}: pass a "
            f"numpy array or TensorData. Lists are understood for {', '.join(sorted(_LIST_DTYPES))}."
        )
    return TensorData(values_of(items, dtype, where, flags=flags), dtype)


# ---------------------------------------------------------------- token ids


def token_ids(tokens: Any, where: str) -> Tokens:
    """Return token ids, copied: a list for a list and other sequences, a flat integer array for what can be one.

    What is no integer is refused here, before it could be bent into one. The range is left to who writes the ids, whom
    it costs less.

    Args:
        tokens: the ids, or a tokenizer's encoding of one text.
        where: what to call them in a message.

    Raises:
        InvalidInputError: see `EncodedTextChunk`.
    """
    if isinstance(tokens, list):
        return _integers(tokens, where)
    if not isinstance(tokens, np.ndarray):
        if is_text(tokens):
            raise InvalidInputError(
                f"{where} can't be made of {type(tokens).__name__}: encode the text with a tokenizer first."
            )
        if isinstance(tokens, Mapping) and "input_ids" in tokens:
            return _encoded(tokens["input_ids"], tokens.get("attention_mask"), where)
        if hasattr(tokens, "ids") and hasattr(tokens, "attention_mask"):
            return _encoded(tokens.ids, tokens.attention_mask, where)
    array = as_array(tokens, where)
    if array is None or (array.dtype.kind == "O" and array.ndim == 1):
        return _integers(listed(tokens, where), where)
    if array.dtype.kind == "V" and np.can_cast(array.dtype, np.int64, "safe"):
        array = array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InvalidInputError(f"{where} need a flat integer array, not {array.dtype} {array.shape}.")
    return array.copy()


def _integers(items: list[Any], where: str) -> list[int]:
    """Return a new list of plain integers, or raise for the first item that is none."""
    try:  # and no context manager, which costs three calls for each prompt
        return msgspec.convert(items, list[int])  # takes no bool, no float and no text; 5 ns each more than a copy
    except msgspec.ValidationError:
        pass  # behind it, so that what is raised there has no other error before it
    return [plain_int(item, f"{where}[{index}]") for index, item in enumerate(items)]


def _encoded(ids: Any, mask: Any, where: str) -> Tokens:
    """Return the ids of a tokenizer's encoding, which has them for one text or in a row for each text."""
    rows = [_rows(ids), [] if mask is None else _rows(mask)]
    if len(rows[0]) != 1:
        raise InvalidInputError(f"{where} can't be the encoding of {len(rows[0])} texts; give a row of its input_ids.")
    if rows[1] and not all(rows[1][0]):
        raise InvalidInputError(f"{where} can't be an encoding with padding; encode the text without it.")
    return token_ids(rows[0][0], where)


def _rows(values: Any) -> list[Any]:
    array = as_array(values, "The encoding")
    if array is not None:
        return list(array) if array.ndim > 1 else [array]
    items = listed(values, "The encoding")
    nested = bool(items) and (hasattr(items[0], "__len__") or getattr(items[0], "shape", ()) != ())
    return items if nested else [items]


# ---------------------------------------------------------------- images


def _image_facts(image_format: Any, expected_tokens: Any) -> tuple[ImageFormat, int | None]:
    if image_format not in get_args(ImageFormat):
        known = " or ".join(map(repr, get_args(ImageFormat)))
        raise InvalidInputError(f"The image's format is {shown(image_format)}; it must be {known}.")
    if expected_tokens is not None:
        expected_tokens = checked_int(expected_tokens, "The image's expected_tokens", least=1)
    return image_format, expected_tokens


def _expected(tokens: int | None) -> int:
    if tokens is None:
        raise InvalidInputError("The length of an image is only known when expected_tokens is given.")
    return tokens
