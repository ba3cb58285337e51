"""Options: what `with_options` takes, checked in the caller's thread."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import msgspec

from tinker_actors.actors.terms import PRIORITIES, Room, Terms
from tinker_actors.errors import InvalidInputError


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


def _timeout(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not (0 < value < math.inf):
        raise InvalidInputError(f"timeout is {value!r}; it must be a number of seconds above 0, or None for none.")
    return float(value)


def _priority(value: Any) -> str:
    if value not in PRIORITIES:
        raise InvalidInputError(f"priority is {value!r}; it must be one of {', '.join(map(repr, PRIORITIES))}.")
    return str(value)


def _room(value: Any) -> Room | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidInputError(f"max_in_flight is {value!r}; it must be a whole number above 0, or None for no limit.")
    return Room(value)


def _retries(value: Any) -> int | None:
    if value is None:
        return None
    if value is False:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidInputError(
            f"retry is {value!r}; it must be None (until a limit ends it), False (never) or a number of repetitions."
        )
    return value


def _tags(value: Any) -> tuple[str, ...]:
    tags = None if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
    if tags is None or not all(isinstance(tag, str) for tag in tags):
        raise InvalidInputError(f"tags is {value!r}; it must be a list of strings.")
    return tags


_CHECKS: dict[str, tuple[str, Any]] = {
    "timeout": ("timeout", _timeout),
    "priority": ("priority", _priority),
    "max_in_flight": ("room", _room),
    "retry": ("retries", _retries),
    "tags": ("tags", _tags),
}
