"""Values: arguments whose meaning is the wire's, checked and made plain.

Every refusal begins with the argument's name and says its value. Single numbers, flags and texts are checked by
`types.scalars`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec
import numpy as np

from tinker_actors.errors import InvalidInputError
from tinker_actors.protocol.codec.wire_json import encode
from tinker_actors.secrets import keep_out
from tinker_actors.types.scalars import checked_int, checked_number, checked_text, sendable_text, shown

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
        input_name(name, "loss_fn_config"): sendable_text(value, f"loss_fn_config[{name!r}]")
        if isinstance(value, str)
        else checked_number(value, f"loss_fn_config[{name!r}]")
        for name, value in config.items()
    }


def input_name(name: Any, where: str) -> str:
    """Return the name of an input.

    Raises:
        InvalidInputError: no text, or none that can be sent.
    """
    if not isinstance(name, str):
        raise InvalidInputError(f"{where} has the key {shown(name)}; its keys are names.")
    return sendable_text(name, f"A key of {where}")


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
        InvalidInputError: no dict, or something in it has no JSON form of its own: NaN, bytes and sets among others,
            which would arrive as something else.
    """
    if metadata is None:
        return None
    if not isinstance(metadata, Mapping):
        raise InvalidInputError(f"user_metadata is a {type(metadata).__name__}, not a dict.")
    try:
        _check_json(metadata, "user_metadata")
        plain: dict[str, Any] = msgspec.json.decode(encode(dict(metadata)))
    except RecursionError:
        raise InvalidInputError("user_metadata can't be sent: it is nested too deeply, or contains itself.") from None
    except (InvalidInputError, TypeError, ValueError) as error:
        raise InvalidInputError(f"user_metadata can't be sent: {error}") from error
    return plain


def _check_json(value: Any, where: str) -> None:
    """Refuse what JSON would turn into something else without a word.

    Raises:
        InvalidInputError: the message has the place.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_json(item, f"{where}[{shown(key)}]")
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            _check_json(item, f"{where}[{i}]")
    elif isinstance(value, np.ndarray):
        _check_json(value.tolist(), where)
    elif isinstance(value, bytes | bytearray | memoryview | AbstractSet):
        raise InvalidInputError(f"{where} is a {type(value).__name__}, which JSON has no form for.")
    elif isinstance(value, float | np.floating) and not math.isfinite(value):
        raise InvalidInputError(f"{where} is {value}, which JSON has no form for.")
    elif isinstance(value, str):
        sendable_text(value, where)


def checked_access_token(token: Any) -> str | None:
    """Return the token for another account's checkpoint, or None where there is none.

    Raises:
        InvalidInputError: no text, or none that can be sent. The message does not show it.
    """
    if token is None:
        return None
    text = checked_text(token, "weights_access_token", secret=True)
    keep_out(text)
    return text


def checked_name(name: Any) -> str:
    """Return a checkpoint's name.

    Raises:
        InvalidInputError: empty, with a slash, or a whole path.
    """
    if not isinstance(name, str) or not name.strip():
        raise InvalidInputError(f"A checkpoint needs a name, got {shown(name)}.")
    if "/" in name:
        raise InvalidInputError(
            f"{shown(name)} can't be a checkpoint's name: give the last part only, without any slash; "
            "the server makes tinker://<run id>/weights/<name> of it."
        )
    return sendable_text(name, "The checkpoint's name")
