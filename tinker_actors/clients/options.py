"""Options: what `with_options` takes, checked in the caller's thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from tinker_actors.actors.lane.options import PRIORITIES, Room, Terms
from tinker_actors.errors import InvalidInputError
from tinker_actors.types.scalars import checked_int, checked_number, shown

T = TypeVar("T")

_LONGEST = 1e9  # seconds, thirty years, which all systems' timers can wait


def changed_terms(terms: Terms, options: dict[str, Any]) -> Terms:
    """Return the terms of a view.

    Args:
        terms: of what the view is made of.
        options: arguments of `with_options`; those that are `UNSET` stay as they are.

    Raises:
        InvalidInputError: a value that can't be right; the message has the allowed ones.
    """
    changes: dict[str, Any] = {}
    for name, value in options.items():
        if value is not msgspec.UNSET:
            field, check = _CHECKS[name]
            changes[field] = check(value)
    return msgspec.structs.replace(terms, **changes)


def options_of(terms: Terms) -> dict[str, Any]:
    """Return the arguments for `with_options` that make a view with these terms."""
    retry = False if terms.retries == 0 else terms.retries
    options = {
        "timeout": terms.timeout,
        "priority": terms.priority,
        "max_in_flight": None if terms.room is None else terms.room.limit,
        "retry": retry,
        "tags": terms.tags,
    }
    plain = Terms()
    usual = {"timeout": plain.timeout, "priority": plain.priority, "max_in_flight": None, "retry": None, "tags": ()}
    return {name: value for name, value in options.items() if value != usual[name] or value is False}


def _or_none(check: Callable[[Any, str], T], value: Any) -> T | None:
    """Return a value as a check makes it, or None where it is refused: the options say themselves what they can be."""
    try:
        return check(value, "")
    except InvalidInputError:
        return None


def _timeout(value: Any) -> float | None:
    if value is None:
        return None
    seconds = _or_none(checked_number, value)
    if seconds is None or not 0 < seconds <= _LONGEST:
        raise InvalidInputError(
            f"timeout is {shown(value)}; it must be a number of seconds above 0 and at most {_LONGEST:g}, or None for "
            "none."
        )
    return seconds


def _priority(value: Any) -> str:
    if value not in PRIORITIES:
        raise InvalidInputError(f"priority is {shown(value)}; it must be one of {', '.join(map(repr, PRIORITIES))}.")
    return str(value)


def _room(value: Any) -> Room | None:
    if value is None:
        return None
    limit = _or_none(checked_int, value)
    if limit is None or limit < 1:
        raise InvalidInputError(
            f"max_in_flight is {shown(value)}; it must be a whole number above 0, or None for no limit."
        )
    return Room(limit)


def _retries(value: Any) -> int | None:
    if value is None:
        return None
    if value is False:
        return 0
    retries = _or_none(checked_int, value)
    if retries is None or retries < 0:
        raise InvalidInputError(
            f"retry is {shown(value)}; it must be None (until a limit ends it), False (never) or a number of "
            "repetitions."
        )
    return retries


def _tags(value: Any) -> tuple[str, ...]:
    tags = None if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
    if tags is None or not all(isinstance(tag, str) for tag in tags):
        raise InvalidInputError(f"tags is {shown(value)}; it must be a list of strings.")
    return tags


_CHECKS: dict[str, tuple[str, Any]] = {
    "timeout": ("timeout", _timeout),
    "priority": ("priority", _priority),
    "max_in_flight": ("room", _room),
    "retry": ("retries", _retries),
    "tags": ("tags", _tags),
}
