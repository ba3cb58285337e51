"""Retry rules: jitter, the server's wish, and what may be repeated."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinker_actors.protocol.limits.retry import (
    MAX_RETRY_AFTER,
    full_jitter,
    retry_after,
    retryable_status,
)

NOON = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT


@pytest.mark.parametrize(
    ("attempt", "unit", "expected"),
    [(0, 0.0, 0.0), (0, 0.5, 0.05), (1, 0.5, 0.1), (3, 0.25, 0.2), (7, 0.5, 5.0), (50, 0.1, 1.0)],
)
def test_backoff_doubles_up_to_its_cap(attempt, unit, expected):
    assert full_jitter(attempt, unit) == pytest.approx(expected)


@pytest.mark.parametrize("attempt", [1_023, 1_100, 10**9])
def test_backoff_survives_absurdly_many_attempts(attempt):
    assert full_jitter(attempt, 0.5) == 5.0


@settings(deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True), st.floats(0.01, 10), st.floats(0.01, 100))
def test_backoff_stays_between_zero_and_its_cap(attempt, unit, base, cap):
    assert 0 <= full_jitter(attempt, unit, base=base, cap=cap) <= cap


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": " 2.5 "}, 2.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "86400"}, MAX_RETRY_AFTER),
        ({"retry-after-ms": "99999999"}, MAX_RETRY_AFTER),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:47 GMT"}, 10.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:47 -0000"}, 10.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:27 GMT"}, None),
        ({"retry-after": "Sun, 06 Nov 2094 08:49:27 GMT"}, MAX_RETRY_AFTER),
        ({"retry-after": "Sun, 06 Nov 199400 08:49:27 GMT"}, None),
        # What counts is the clock of whoever wrote the date.
        ({"retry-after": "Sun, 06 Nov 1994 09:00:10 GMT", "date": "Sun, 06 Nov 1994 09:00:00 GMT"}, 10.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:47 GMT", "date": "Sun, 06 Nov 1994 08:49:40 GMT"}, 7.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:47 GMT", "date": "Sun, 06 Nov 1994 09:49:40 GMT"}, None),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:47 GMT", "date": "today"}, 10.0),
        ({"retry-after": "3", "date": "Sun, 06 Nov 1994 09:49:40 GMT"}, 3.0),
    ],
)
def test_the_servers_wish_is_read(headers, expected):
    assert retry_after(headers, NOON) == expected


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 599])
def test_repeatable_statuses_are_repeated_unless_the_server_forbids_it(status):
    assert retryable_status(status, {})
    assert not retryable_status(status, {"x-should-retry": "false"})


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 410, 413, 422])
def test_other_statuses_are_final_unless_the_server_asks_for_a_retry(status):
    assert not retryable_status(status, {})
    assert not retryable_status(status, {"x-should-retry": "perhaps"})
    assert retryable_status(status, {"x-should-retry": " True "})
