"""Paging: which part of a list is asked for, and the cursor that says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar
from urllib.parse import parse_qsl

from tinker_actors.local.core.requests.messages import CoreRequest, RefusedError
from tinker_actors.types.checkpoints import Cursor

T = TypeVar("T")

LONGEST_PAGE = 1000
_MOST_DIGITS = 18


def query_of(request: CoreRequest) -> dict[str, str]:
    """Return a request's query parameters; of several with one name the last counts.

    Raises:
        RefusedError: 400, there are absurdly many.
    """
    try:
        return dict(parse_qsl(request.path.partition("?")[2], keep_blank_values=True, max_num_fields=100))
    except ValueError as error:
        raise RefusedError(400, f"The query can't be read: {error}.") from error


def page_of(request: CoreRequest, items: Sequence[T], default_limit: int) -> tuple[list[T], Cursor]:
    """Return the part of a list that `limit` and `offset` ask for, and its cursor.

    Raises:
        RefusedError: 422, they are no numbers or out of range.
    """
    query = query_of(request)
    limit = _number(query, "limit", default_limit, least=1, most=LONGEST_PAGE)
    offset = _number(query, "offset", 0, least=0, most=10**_MOST_DIGITS)
    return list(items[offset : offset + limit]), Cursor(offset, limit, len(items))


def require_scope(request: CoreRequest) -> None:
    """Check `access_scope`. Nothing is shared here but public checkpoints, so both scopes mean the same.

    Raises:
        RefusedError: 422, it is neither.
    """
    scope = query_of(request).get("access_scope", "owned")
    if scope not in ("owned", "accessible"):
        raise RefusedError(422, f"access_scope must be owned or accessible, got {scope[:40]!r}.")


def _number(query: dict[str, str], name: str, default: int, *, least: int, most: int) -> int:
    text = query.get(name, "")
    if text == "":
        return default
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS + 1 else -1
    if not least <= number <= most:
        raise RefusedError(422, f"{name} must be a number from {least} to {most}, got {text[:40]!r}.")
    return number
