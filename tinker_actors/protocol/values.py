"""Values: single arguments, checked and made plain.

Every refusal begins with the argument's name and says its value. numpy's scalars are taken for what they are.
"""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from tinker_actors.errors import InvalidInputError
from tinker_actors.protocol.codec import encode

_DAY = 86_400
MIN_TTL_SECONDS = 3_600
MAX_TTL_SECONDS = 3_653 * _DAY
"""Ten years with their leap days."""


def checked_loss_config(config: Mapping[str, Any] | None) -> dict[str, float | str] | None:
    """Return a loss function's configuration with plain values, or None when it is empty.

    Raises:
        InvalidInputError: no dict, or a value that is neither a number nor a string, or not finite.
    """
    if not config:
        return None
    if not isinstance(config, Mapping):
        raise InvalidInputError(f"loss_fn_config is a {type(config).__name__}, not a dict.")
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
    try:
        plain = float(value)
    except OverflowError:  # an integer of more than three hundred digits
        plain = math.inf
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


def checked_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return a user's metadata as plain values that nobody else can change, or None when there are none.

    Raises:
        InvalidInputError: no dict, or something in it has no JSON form.
    """
    if metadata is None:
        return None
    if not isinstance(metadata, Mapping):
        raise InvalidInputError(f"user_metadata is a {type(metadata).__name__}, not a dict.")
    try:
        plain: dict[str, Any] = msgspec.json.decode(encode(dict(metadata)))
    except InvalidInputError as error:
        raise InvalidInputError(f"user_metadata can't be sent: {error.message}") from error
    return plain


def checked_text(value: Any, where: str) -> str:
    """Return text that says something and can be sent.

    Raises:
        InvalidInputError: no text, empty, or no Unicode; the message starts with `where`.
    """
    if not isinstance(value, str) or not value.strip():
        raise InvalidInputError(f"{where} is {value!r}; it must be a text that is not empty.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"{where} is {value!r}, which is no text that can be sent: {error}.") from error
    return value


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
