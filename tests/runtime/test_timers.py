"""Timers: order, cancelling, and what is left in the heap."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinker_actors.runtime.timers import Timers


def drain(timers: Timers, now: float) -> None:
    while (callback := timers.pop_due(now)) is not None:
        callback()


def test_callbacks_come_in_the_order_of_their_due_times_and_ties_in_the_order_made():
    timers, seen = Timers(), []
    for due, name in [(3.0, "c"), (1.0, "a"), (2.0, "b1"), (2.0, "b2")]:
        timers.call_at(due, lambda name=name: seen.append(name))

    drain(timers, 3.0)

    assert seen == ["a", "b1", "b2", "c"]


def test_nothing_runs_before_it_is_due():
    timers = Timers()
    timers.call_at(5.0, lambda: None)

    assert timers.pop_due(4.999) is None
    assert timers.next_due() == 5.0
    assert timers.pop_due(5.0) is not None
    assert timers.next_due() is None


@pytest.mark.parametrize(
    ("due", "now", "wait"), [(5.0, 3.0, 2.0), (5.0, 5.0, 0.0), (5.0, 9.0, 0.0), (math.inf, 0.0, 3600.0)]
)
def test_waiting_ends_with_the_next_timer_and_after_an_hour(due, now, wait):
    timers = Timers()
    assert timers.wait(now) is None
    timers.call_at(due, lambda: None)
    assert timers.wait(now) == wait


def test_a_cancelled_timer_never_runs_and_cancelling_twice_counts_once():
    timers, seen = Timers(), []
    first = timers.call_at(1.0, lambda: seen.append("first"))
    timers.call_at(2.0, lambda: seen.append("second"))

    first.cancel()
    first.cancel()

    assert len(timers) == 1
    assert timers.next_due() == 2.0
    drain(timers, 9.0)
    assert seen == ["second"]


def test_cancelling_a_timer_that_has_run_changes_nothing():
    timers = Timers()
    timer = timers.call_at(1.0, lambda: None)
    timers.call_at(2.0, lambda: None)
    timers.pop_due(1.0)

    timer.cancel()

    assert len(timers) == 1


def test_a_callback_may_set_and_cancel_timers():
    timers, seen = Timers(), []
    victim = timers.call_at(2.0, lambda: seen.append("victim"))

    def first() -> None:
        victim.cancel()
        timers.call_at(1.5, lambda: seen.append("late"))

    timers.call_at(1.0, first)
    drain(timers, 3.0)

    assert seen == ["late"]


def test_cancelled_timers_do_not_pile_up_in_the_heap():
    timers = Timers()
    for number in range(20_000):
        timers.call_at(1e9 + number, lambda: None).cancel()

    assert len(timers) == 0
    assert len(timers._heap) < 2_000


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=60), st.integers(0, 20))
def test_exactly_the_live_and_due_ones_run_in_order(plan, now):
    timers, seen = Timers(), []
    made = [timers.call_at(float(due), lambda i=i: seen.append(i)) for i, (due, _) in enumerate(plan)]
    for timer, (_, cancelled) in zip(made, plan, strict=True):
        if cancelled:
            timer.cancel()

    drain(timers, float(now))

    live = [(due, i) for i, (due, cancelled) in enumerate(plan) if not cancelled]
    assert seen == [i for due, i in sorted(live) if due <= now]
    assert len(timers) == len(live) - len(seen)
