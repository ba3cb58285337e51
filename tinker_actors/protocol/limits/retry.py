"""Retry: how long to wait, and whether trying again can help.

One layer decides about repeating, with full jitter, the server's own wish, and a budget (`retry_budget.py`) for servers
in trouble. It delays and never fails anything: only deadlines and permanent errors end an operation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC

from tinker_actors.loading import load

MAX_RETRY_AFTER = 600.0
"""Longest wait, in seconds, that a server can ask for; a longer wish is cut to this."""

_RETRYABLE = frozenset({408, 409, 425, 429})
_FIRST_SERVER_ERROR = 500

_LARGEST_EXPONENT = 1000  # 2.0**1024 overflows; every cap is reached long before


def full_jitter(attempt: int, unit: float, *, base: float = 0.1, cap: float = 10.0) -> float:
    """Return a backoff in seconds, drawn evenly from zero to an exponentially growing limit ("full jitter").

    Args:
        attempt: how many attempts failed before this one, from 0.
        unit: a random number in [0, 1), drawn by the caller.
        base: the limit for attempt 0, in seconds.
        cap: the largest limit, in seconds.
    """
    exponent = min(max(attempt, 0), _LARGEST_EXPONENT)
    return unit * min(cap, base * 2.0**exponent)


def retry_after(headers: Mapping[str, str], now_wall: float) -> float | None:
    """Return how many seconds the server asks to wait, at most `MAX_RETRY_AFTER`.

    `retry-after-ms` goes before `retry-after`, which may be seconds or an HTTP date (wire protocol 7.1).

    A date is compared with the answer's own `Date` where it has one: the clock that the server means is its own.

    Args:
        headers: the answer's headers, names in lower case.
        now_wall: the wall clock as seconds since 1970, to compare a date with when the answer has none.

    Returns:
        None when no header says so, or only with a negative or unreadable value.
    """
    delay = milliseconds(headers.get("retry-after-ms"))
    text = headers.get("retry-after")
    if delay is None and text is not None:
        delay = _number(text)
        if delay is None:
            delay = _seconds_until(text, headers.get("date"), now_wall)
    return None if delay is None else min(delay, MAX_RETRY_AFTER)


def milliseconds(value: object) -> float | None:
    """Return a number of milliseconds, or text that holds one, in seconds, at most `MAX_RETRY_AFTER`.

    Returns:
        None when it is no number, or no finite one, or negative.
    """
    number = _number(value)
    return None if number is None else min(number / 1000.0, MAX_RETRY_AFTER)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _seconds_until(http_date: str, answered: str | None, now_wall: float) -> float | None:
    moment = _moment(http_date)
    if moment is None:
        return None
    now = None if answered is None else _moment(answered)
    delay = moment - (now_wall if now is None else now)
    return delay if delay >= 0 else None


def _moment(http_date: str) -> float | None:
    load("email.utils")
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - loads a lot, for a form of date that is rare

    try:
        moment = parsedate_to_datetime(http_date)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def retryable_status(status: int, headers: Mapping[str, str]) -> bool:
    """Return whether the same request may be sent again after this status.

    408, 409, 425, 429 and 500 or above are; `x-should-retry: true` or `false` overrides that both ways (wire
    protocol 7.1; 425 is what independent servers answer for a checkpoint that is still being written).
    """
    wish = headers.get("x-should-retry", "").strip().lower()
    if wish in ("true", "false"):
        return wish == "true"
    return status in _RETRYABLE or status >= _FIRST_SERVER_ERROR
