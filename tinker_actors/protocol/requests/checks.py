"""Checks: what can be known to be wrong before anything is sent.

Every refusal says where (the datum's index and the field) and both numbers that don't fit. What only a server can
know, such as the size of its vocabulary, is left to it. Token ids are checked where they are written (`tokens`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinker_actors.errors import InvalidInputError
from tinker_actors.protocol.requests.values import input_name
from tinker_actors.types.inputs import (
    Datum,
    EncodedTextChunk,
    ImageAssetPointerChunk,
    ImageChunk,
    LossFnInputs,
    ModelInput,
)
from tinker_actors.types.scalars import shown
from tinker_actors.types.spelling import did_you_mean
from tinker_actors.types.tensors import TensorData
from tinker_actors.types.training import LOSS_FN_TYPES

_POLICY_LOSSES = frozenset({"importance_sampling", "ppo", "cispo", "dro", "gspo"})
_TARGETS = "target_tokens"
_POLICY_INPUTS = (_TARGETS, "logprobs", "advantages")

_IMAGES = (ImageChunk, ImageAssetPointerChunk)

# Names with one value per input token.
_PER_TOKEN = frozenset({_TARGETS, "weights", "logprobs", "advantages", "sequence_ratio_mask"})

_bits_of_all = np.bitwise_or.reduce


def check_batch(data: Any, loss_fn: str, *, forward_only: bool) -> None:
    """Check the examples of a forward or forward-backward pass.

    Args:
        data: the examples.
        loss_fn: name of the loss function.
        forward_only: no gradient: inputs that only the gradient needs may be missing.

    Raises:
        InvalidInputError: no data, an unknown loss function, or the first datum that can't be right.
    """
    if loss_fn not in LOSS_FN_TYPES:
        known = ", ".join(LOSS_FN_TYPES)
        hint = did_you_mean(loss_fn, LOSS_FN_TYPES)
        raise InvalidInputError(f"There is no loss function {shown(loss_fn)}{hint}; the known ones: {known}.")
    if not isinstance(data, Sequence):
        raise InvalidInputError(f"The data are a {type(data).__name__}; give a list of Datum.")
    if not data:
        raise InvalidInputError("The data are empty: give at least one Datum.")
    needed = () if loss_fn == "custom" else _needed(loss_fn, forward_only=forward_only)
    for index, datum in enumerate(data):
        if not isinstance(datum, Datum):
            raise InvalidInputError(f"data[{index}] is a {type(datum).__name__}, not a Datum.")
        try:
            _check_datum(datum, loss_fn, needed)
        except InvalidInputError as error:
            raise InvalidInputError(f"data[{index}].{error.message}") from None


def _needed(loss_fn: str, *, forward_only: bool) -> tuple[str, ...]:
    return _POLICY_INPUTS if loss_fn in _POLICY_LOSSES and not forward_only else (_TARGETS,)


def _check_datum(datum: Datum, loss_fn: str, needed: tuple[str, ...]) -> None:
    """Check an example. Messages begin with the name of a part of it."""
    check_input(datum.model_input, "model_input")
    inputs = datum.loss_fn_inputs
    for name in needed:
        if name not in inputs:
            raise _missing(datum, loss_fn, needed)
    length = known_length(datum.model_input)
    for name, tensor in inputs.items():
        input_name(name, "loss_fn_inputs")
        _check_tensor(tensor, name)
        if length is not None and name in _PER_TOKEN and len(tensor) != length:
            raise InvalidInputError(
                f"loss_fn_inputs[{name!r}] has length {len(tensor)} (shape {tensor.shape}), but model_input has "
                f"{length} tokens: position i of the input predicts target i."
            )
    if needed:
        _check_targets(inputs[_TARGETS])
    if loss_fn == "cross_entropy":
        _check_same_shape(inputs)


def check_input(value: Any, where: str) -> None:
    """Check a prompt or training input: chunks of known kinds, not empty. Token ids are not looked at.

    Args:
        value: the input.
        where: what to call it in a message.

    Raises:
        InvalidInputError: it can't be right.
    """
    if not isinstance(value, ModelInput):
        raise InvalidInputError(f"{where} is a {type(value).__name__}, not a ModelInput (see ModelInput.from_ints).")
    empty = True
    for index, chunk in enumerate(value.chunks):
        if isinstance(chunk, EncodedTextChunk):
            empty = empty and len(chunk.tokens) == 0
        elif isinstance(chunk, _IMAGES):
            empty = False
            try:
                chunk.check()
            except InvalidInputError as error:
                raise InvalidInputError(f"{where}.chunks[{index}]: {error.message}") from None
        else:
            raise InvalidInputError(f"{where}.chunks[{index}] is a {type(chunk).__name__}, which is no chunk.")
    if empty:
        raise InvalidInputError(f"{where} is empty: it has 0 tokens, at least 1 is needed.")


def _check_tensor(tensor: Any, name: str) -> None:
    if not isinstance(tensor, TensorData):
        raise InvalidInputError(f"loss_fn_inputs[{name!r}] is a {type(tensor).__name__}, not a TensorData.")
    values = tensor._array
    if tensor.dtype == "float32" and b"\0" in np.isfinite(values).tobytes():  # half of what all() takes
        position = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InvalidInputError(
            f"loss_fn_inputs[{name!r}] has {values.reshape(-1)[position]} at flat index {position}; it must be finite."
        )


def _missing(datum: Datum, loss_fn: str, needed: tuple[str, ...]) -> InvalidInputError:
    missing = [name for name in needed if name not in datum.loss_fn_inputs]
    return InvalidInputError(
        f"loss_fn_inputs lacks {' and '.join(missing)}, which {loss_fn} needs; "
        f"it has {', '.join(sorted(datum.loss_fn_inputs)) or 'nothing'}."
    )


def _check_targets(targets: TensorData) -> None:
    if targets.dtype != "int64":
        raise InvalidInputError(f"loss_fn_inputs['target_tokens'] is {targets.dtype}; token ids are int64.")
    ids = targets._array
    if ids.size and _bits_of_all(ids, axis=None) < 0:  # if and only if one of them is
        raise InvalidInputError(
            f"loss_fn_inputs['target_tokens'] has the negative token id {int(ids.min())}; "
            "to leave a position out, give it any id and the weight 0."
        )


def _check_same_shape(inputs: LossFnInputs) -> None:
    weights = inputs.get("weights")
    targets = inputs[_TARGETS]
    if weights is not None and weights.shape != targets.shape:
        raise InvalidInputError(
            f"loss_fn_inputs['weights'] has shape {weights.shape}, but target_tokens has {targets.shape}."
        )


def known_length(value: ModelInput) -> int | None:
    """Return the number of tokens of an input, or None when an image doesn't say how many it will be."""
    length = 0
    for chunk in value.chunks:
        expected = len(chunk.tokens) if isinstance(chunk, EncodedTextChunk) else chunk.expected_tokens
        if expected is None:
            return None
        length += expected
    return length
