"""Retry rules: jitter, the server's wish, what may be repeated, and the shared budget."""

from __future__ import annotations

import math
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinker_actors.protocol.retry import (
    MAX_BUDGET_DELAY,
    MAX_RETRY_AFTER,
    RetryBudget,
    full_jitter,
    retry_after,
    retryable_status,
)

NOON = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT


@pytest.mark.parametrize(
    ("attempt", "unit", "expected"),
    [(0, 0.0, 0.0), (0, 0.5, 0.25), (1, 0.5, 0.5), (3, 0.25, 1.0), (6, 0.5, 15.0), (50, 0.1, 3.0)],
)
def test_backoff_doubles_up_to_its_cap(attempt, unit, expected):
    assert full_jitter(attempt, unit) == pytest.approx(expected)


@pytest.mark.parametrize("attempt", [1_023, 1_100, 10**9])
def test_backoff_survives_absurdly_many_attempts(attempt):
    assert full_jitter(attempt, 0.5) == 15.0


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


def test_a_full_budget_lets_retries_go_at_once():
    budget = RetryBudget(capacity=500.0, now=100.0)
    delays = [budget.delay_before_retry("transient", 100.0) for _ in range(35)]  # 35 * 14 = 490
    assert set(delays) == {0.0}


def test_an_empty_budget_delays_until_the_debt_is_paid():
    budget = RetryBudget(capacity=28.0, now=0.0)
    delays = [budget.delay_before_retry("transient", 0.0) for _ in range(4)]
    assert delays == [0.0, 0.0, 1.0, 2.0]
    assert budget.delay_before_retry("transient", 2.0) == 1.0  # two seconds paid for two of them


def test_a_throttle_costs_less_than_a_transient_failure():
    budget = RetryBudget(capacity=0.0, now=0.0)
    assert budget.delay_before_retry("throttle", 0.0) == pytest.approx(5 / 14)
    assert RetryBudget(capacity=0.0).delay_before_retry("transient", 0.0) == pytest.approx(1.0)


def test_a_success_gives_one_token_back_and_never_overfills():
    budget = RetryBudget(capacity=14.0, now=0.0)
    budget.succeeded(0.0)  # already full
    assert budget.delay_before_retry("transient", 0.0) == 0.0
    for _ in range(7):
        budget.succeeded(0.0)
    assert budget.delay_before_retry("transient", 0.0) == pytest.approx(0.5)


def test_time_refills_up_to_the_capacity():
    budget = RetryBudget(capacity=14.0, now=0.0)
    budget.delay_before_retry("transient", 0.0)
    assert budget.delay_before_retry("transient", 1_000.0) == 0.0
    assert budget.delay_before_retry("transient", 1_000.0) == pytest.approx(1.0)


def test_the_longest_outage_costs_no_more_than_the_documented_delay():
    budget = RetryBudget(capacity=500.0, now=0.0)
    delays = [budget.delay_before_retry("transient", 0.0) for _ in range(1_000)]
    assert max(delays) == MAX_BUDGET_DELAY
    assert budget.delay_before_retry("throttle", MAX_BUDGET_DELAY + 1.0) == 0.0


def test_a_clock_read_a_little_earlier_takes_nothing_away():
    budget = RetryBudget(capacity=14.0, now=10.0)
    budget.delay_before_retry("transient", 10.0)
    assert budget.delay_before_retry("transient", 9.0) == pytest.approx(1.0)
    assert budget.delay_before_retry("transient", 10.0) == pytest.approx(2.0)


def test_lanes_share_a_budget_without_losing_charges():
    budget = RetryBudget(capacity=0.0, now=0.0)

    def charge() -> None:
        for _ in range(50):
            budget.delay_before_retry("throttle", 0.0)

    threads = [threading.Thread(target=charge) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budget.delay_before_retry("throttle", 0.0) == pytest.approx(151 * 5 / 14)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["transient", "throttle", "success"]), st.floats(0, 5)), max_size=60))
def test_a_budget_never_refuses_and_never_delays_beyond_its_limit(events):
    budget = RetryBudget(capacity=30.0, now=0.0)
    now = 0.0
    for kind, elapsed in events:
        now += elapsed
        if kind == "success":
            budget.succeeded(now)
        else:
            delay = budget.delay_before_retry(kind, now)
            assert math.isfinite(delay)
            assert 0 <= delay <= MAX_BUDGET_DELAY
