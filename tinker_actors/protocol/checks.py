"""Checks: what can be known to be wrong before anything is sent.

Every refusal says where (the datum's index and the field) and both numbers that don't fit. What only a server can
know, such as the size of its vocabulary, is left to it. Usual inputs are checked in C, token lists too.
"""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from tinker_actors.errors import InvalidInputError
from tinker_actors.types.inputs import Datum, EncodedTextChunk, ImageAssetPointerChunk, ImageChunk, ModelInput
from tinker_actors.types.tensors import TensorData
from tinker_actors.types.training import LOSS_FN_TYPES

KNOWN_LOSSES: tuple[str, ...] = (*LOSS_FN_TYPES, "ppo_critic", "dppo")
"""Loss functions that the wire knows (3.8); a server may lack some, and says so itself."""

_POLICY_LOSSES = frozenset({"importance_sampling", "ppo", "cispo", "dro", "gspo"})
_ALWAYS_NEEDED: tuple[str, ...] = ("target_tokens",)
_POLICY_INPUTS = (*_ALWAYS_NEEDED, "logprobs", "advantages")

# Names with one value per input token.
_PER_TOKEN = ("target_tokens", "weights", "logprobs", "advantages", "sequence_ratio_mask")

_PlainIds = list[Annotated[int, msgspec.Meta(ge=0)]]

_DAY = 86_400
MIN_TTL_SECONDS = 3_600
MAX_TTL_SECONDS = 3_653 * _DAY
"""Ten years with their leap days."""


def check_batch(data: Any, loss_fn: str, *, forward_only: bool) -> None:
    """Check the examples of a forward or forward-backward pass.

    Args:
        data: the examples.
        loss_fn: name of the loss function.
        forward_only: no gradient: inputs that only the gradient needs may be missing.

    Raises:
        InvalidInputError: no data, an unknown loss function, or the first datum that can't be right.
    """
    if loss_fn not in KNOWN_LOSSES:
        raise InvalidInputError(f"There is no loss function {loss_fn!r}; the known ones: {', '.join(KNOWN_LOSSES)}.")
    if not isinstance(data, Sequence):
        raise InvalidInputError(f"The data are a {type(data).__name__}; give a list of Datum.")
    if not data:
        raise InvalidInputError("The data are empty: give at least one Datum.")
    for index, datum in enumerate(data):
        _check_datum(datum, f"data[{index}]", loss_fn, forward_only=forward_only)


def _check_datum(datum: Any, where: str, loss_fn: str, *, forward_only: bool) -> None:
    if not isinstance(datum, Datum):
        raise InvalidInputError(f"{where} is a {type(datum).__name__}, not a Datum.")
    check_input(datum.model_input, f"{where}.model_input")
    for name, tensor in datum.loss_fn_inputs.items():
        _check_tensor(tensor, f"{where}.loss_fn_inputs[{name!r}]")
    if loss_fn != "custom":
        _check_present(datum, where, loss_fn, forward_only=forward_only)
    _check_aligned(datum, where)
    if loss_fn == "cross_entropy":
        _check_same_shape(datum, where)


def check_input(value: Any, where: str) -> None:
    """Check a prompt or training input: chunks of known kinds, no negative token ids, not empty.

    Args:
        value: the input.
        where: what to call it in a message.

    Raises:
        InvalidInputError: it can't be right.
    """
    if not isinstance(value, ModelInput):
        raise InvalidInputError(f"{where} is a {type(value).__name__}, not a ModelInput (see ModelInput.from_ints).")
    images = 0
    tokens = 0
    for index, chunk in enumerate(value.chunks):
        if isinstance(chunk, EncodedTextChunk):
            check_tokens(chunk.tokens, f"{where}.chunks[{index}].tokens")
            tokens += len(chunk.tokens)
        elif isinstance(chunk, ImageChunk | ImageAssetPointerChunk):
            images += 1
        else:
            raise InvalidInputError(f"{where}.chunks[{index}] is a {type(chunk).__name__}, which is no chunk.")
    if tokens == 0 and images == 0:
        raise InvalidInputError(f"{where} is empty: it has 0 tokens, at least 1 is needed.")


def check_tokens(tokens: Any, where: str) -> None:
    """Check that token ids are integers and not negative.

    Raises:
        InvalidInputError: one that is not; the message starts with `where`.
    """
    if isinstance(tokens, np.ndarray):
        smallest = int(tokens.min()) if tokens.size else 0
    elif _is_plain_ids(tokens):
        return
    else:
        for position, token in enumerate(tokens):
            checked_int(token, f"{where}[{position}]")
        smallest = int(min(tokens, default=0))
    if smallest < 0:
        raise InvalidInputError(f"{where} has the negative token id {smallest}; token ids are at least 0.")


def _is_plain_ids(tokens: Any) -> bool:
    """Return whether this is a list of Python ints, none negative, in one pass in C."""
    try:
        msgspec.convert(tokens, _PlainIds)
    except msgspec.ValidationError:
        return False
    return True


def _check_tensor(tensor: Any, where: str) -> None:
    if not isinstance(tensor, TensorData):
        raise InvalidInputError(f"{where} is a {type(tensor).__name__}, not a TensorData.")
    values = tensor._array
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        position = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InvalidInputError(
            f"{where} has {values.reshape(-1)[position]} at flat index {position}; it must be finite."
        )


def _check_present(datum: Datum, where: str, loss_fn: str, *, forward_only: bool) -> None:
    needed = _POLICY_INPUTS if loss_fn in _POLICY_LOSSES and not forward_only else _ALWAYS_NEEDED
    missing = [name for name in needed if name not in datum.loss_fn_inputs]
    if missing:
        raise InvalidInputError(
            f"{where}.loss_fn_inputs lacks {' and '.join(missing)}, which {loss_fn} needs; "
            f"it has {', '.join(sorted(datum.loss_fn_inputs)) or 'nothing'}."
        )
    targets = datum.loss_fn_inputs["target_tokens"]
    if targets.dtype != "int64":
        raise InvalidInputError(f"{where}.loss_fn_inputs['target_tokens'] is {targets.dtype}; token ids are int64.")
    if targets._array.size and int(targets._array.min()) < 0:
        raise InvalidInputError(
            f"{where}.loss_fn_inputs['target_tokens'] has the negative token id {int(targets._array.min())}; "
            "to leave a position out, give it any id and the weight 0."
        )


def _check_aligned(datum: Datum, where: str) -> None:
    """Check that everything that is per token has as many rows as there are input tokens."""
    length = known_length(datum.model_input)
    if length is None:
        return
    for name in _PER_TOKEN:
        tensor = datum.loss_fn_inputs.get(name)
        if tensor is not None and len(tensor) != length:
            raise InvalidInputError(
                f"{where}.loss_fn_inputs[{name!r}] has length {len(tensor)} (shape {tensor.shape}), "
                f"but {where}.model_input has {length} tokens: position i of the input predicts target i."
            )


def _check_same_shape(datum: Datum, where: str) -> None:
    weights = datum.loss_fn_inputs.get("weights")
    targets = datum.loss_fn_inputs["target_tokens"]
    if weights is not None and weights.shape != targets.shape:
        raise InvalidInputError(
            f"{where}.loss_fn_inputs['weights'] has shape {weights.shape}, but target_tokens has {targets.shape}."
        )


def known_length(value: ModelInput) -> int | None:
    """Return the number of tokens of an input, or None when an image doesn't say how many it will be."""
    if any(getattr(chunk, "expected_tokens", 0) is None for chunk in value.chunks):
        return None
    return value.length


def checked_loss_config(config: Mapping[str, Any] | None) -> dict[str, float | str] | None:
    """Return a loss function's configuration with plain values, or None when it is empty.

    Raises:
        InvalidInputError: a value that is neither a number nor a string, or not finite.
    """
    if not config:
        return None
    return {
        str(name): value if isinstance(value, str) else checked_number(value, f"loss_fn_config[{name!r}]")
        for name, value in config.items()
    }


def checked_number(value: Any, where: str) -> float:
    """Return a finite number as a plain float.

    Raises:
        InvalidInputError: no number, NaN or infinite; the message starts with `where`.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real | np.number):
        raise InvalidInputError(f"{where} is {value!r}; it must be a number.")
    plain = float(value)
    if not math.isfinite(plain):
        raise InvalidInputError(f"{where} is {plain}; it must be finite.")
    return plain


def checked_int(value: Any, where: str, *, least: int | None = None) -> int:
    """Return an integer as a plain int, of numpy's kinds too.

    Args:
        value: what was given.
        where: what to call it in a message.
        least: smallest value allowed, or None for any.

    Raises:
        InvalidInputError: no integer, or too small.
    """
    try:
        plain = operator.index(value)
    except TypeError:
        raise InvalidInputError(f"{where} is {value!r}; it must be an integer.") from None
    if isinstance(value, bool):
        raise InvalidInputError(f"{where} is {value!r}; it must be an integer.")
    if least is not None and plain < least:
        raise InvalidInputError(f"{where} is {plain}; it must be at least {least}.")
    return plain


def checked_ttl(ttl_seconds: int | None) -> int | None:
    """Return the lifetime of a checkpoint in seconds; None keeps it for ever.

    Raises:
        InvalidInputError: not between an hour and ten years (wire protocol 3.13).
    """
    if ttl_seconds is None:
        return None
    ttl = checked_int(ttl_seconds, "ttl_seconds")
    if not MIN_TTL_SECONDS <= ttl <= MAX_TTL_SECONDS:
        raise InvalidInputError(f"ttl_seconds is {ttl}; it must be between {MIN_TTL_SECONDS} and {MAX_TTL_SECONDS}.")
    return ttl


def checked_name(name: Any) -> str:
    """Return a checkpoint's name.

    Raises:
        InvalidInputError: empty, with a slash, or a whole path.
    """
    if not isinstance(name, str) or not name.strip():
        raise InvalidInputError(f"A checkpoint needs a name, got {name!r}.")
    if "/" in name:
        raise InvalidInputError(
            f"{name!r} can't be a checkpoint's name: give the last part only, without any slash; "
            "the server makes tinker://<run id>/weights/<name> of it."
        )
    return name
