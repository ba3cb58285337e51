"""Scalars: single values, checked and made plain.

Every refusal begins with what the caller calls the value, and shows it. Scalars of array libraries (numpy's, tensors
without dimensions) are taken for what they hold.
"""

from __future__ import annotations

import math
import numbers
import operator
from typing import Any

import numpy as np

from tinker_actors.errors import InvalidInputError

INT64 = range(-(2**63), 2**63)
"""The integers that the wire has: 64 bits with a sign (wire protocol 3.2)."""

_LONGEST_SHOWN = 100


def shown(value: Any) -> str:
    """Return a value as messages show it: on one line, cut where it is long. Never raises."""
    try:
        text = " ".join(repr(value).splitlines())
    except Exception:  # a class's own failure, or an integer of thousands of digits, which has no text
        return f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def unwrapped(value: Any) -> Any:
    """Return what a scalar of an array library holds, as Python has it; anything else as it is."""
    if getattr(value, "shape", None) != () or isinstance(value, np.timedelta64 | np.datetime64):
        return value
    item = getattr(value, "item", None)
    try:
        return value if item is None else item()
    except RuntimeError:  # a tensor without memory
        return value


def plain_int(value: Any, where: str) -> int:
    """Return an integer of any size as a plain int.

    Raises:
        InvalidInputError: no integer, or a bool; the message starts with `where`.
    """
    if type(value) is int:
        return value
    item = unwrapped(value)
    if not isinstance(item, bool | np.timedelta64):
        try:
            return operator.index(item)
        except TypeError:
            pass
    raise InvalidInputError(f"{where} is {shown(value)}; it must be an integer.")


def checked_int(value: Any, where: str, *, least: int | None = None) -> int:
    """Return an integer as a plain int.

    Args:
        value: what was given.
        where: what to call it in a message.
        least: smallest value allowed, or None for any.

    Raises:
        InvalidInputError: no integer, a bool, too small, or none of 64 bits.
    """
    plain = value if type(value) is int else plain_int(value, where)
    if least is not None and plain < least:
        raise InvalidInputError(f"{where} is {shown(plain)}; it must be at least {least}.")
    if plain not in INT64:
        raise InvalidInputError(f"{where} is {shown(plain)}; it must be an integer of 64 bits.")
    return plain


def plain_number(value: Any, where: str) -> float:
    """Return a number as a plain float, also where it is not finite.

    Raises:
        InvalidInputError: no number, or a bool; the message starts with `where`.
    """
    item = unwrapped(value)
    if isinstance(item, bool | np.timedelta64) or not isinstance(item, numbers.Real):
        raise InvalidInputError(f"{where} is {shown(value)}; it must be a number.")
    try:
        return float(item)
    except OverflowError:  # an integer of more than three hundred digits
        return math.inf if plain_int(item, where) > 0 else -math.inf


def checked_number(value: Any, where: str) -> float:
    """Return a finite number as a plain float.

    Raises:
        InvalidInputError: no number, a bool, NaN or infinite; the message starts with `where`.
    """
    plain = plain_number(value, where)
    if not math.isfinite(plain):
        raise InvalidInputError(f"{where} is {plain}; it must be finite.")
    return plain


def checked_flag(value: Any, where: str) -> bool:
    """Return true or false as a plain bool; 1 and 0 count as such, other values don't.

    Raises:
        InvalidInputError: neither of them; the message starts with `where`.
    """
    if value is True or value is False:
        return value
    item = unwrapped(value)
    if not isinstance(item, int) or item not in (0, 1):
        raise InvalidInputError(f"{where} is {shown(value)}; it must be True or False.")
    return bool(item)


def checked_text(value: Any, where: str, *, secret: bool = False) -> str:
    """Return text that says something and can be sent.

    Args:
        value: what was given.
        where: what to call it in a message.
        secret: leave it out of messages.

    Raises:
        InvalidInputError: no text, empty, or no Unicode; the message starts with `where`.
    """
    if not isinstance(value, str) or not value.strip():
        seen = f"a {type(value).__name__}" if secret else shown(value)
        raise InvalidInputError(f"{where} is {seen}; it must be a text that is not empty.")
    return sendable_text(value, where, secret=secret)


def sendable_text(value: Any, where: str, *, secret: bool = False) -> str:
    """Return text that can be sent, an empty one included, as a plain str.

    Raises:
        InvalidInputError: no text, or no Unicode, as file names and variables of other encodings are; the message
            starts with `where`.
    """
    if not isinstance(value, str):
        raise InvalidInputError(f"{where} is a {type(value).__name__}; it must be a text.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        seen = "a text" if secret else shown(value)
        raise InvalidInputError(
            f"{where} is {seen}, which can't be sent: its character {error.start} is half of a surrogate pair."
        ) from None
    return str.__str__(value)  # also of a class derived from it, such as an enumeration's, which JSON does not know
