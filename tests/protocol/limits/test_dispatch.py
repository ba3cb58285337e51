"""Dispatch limits (wire protocol 7.5): how many, how many bytes, and how long after a 429."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinker_actors.config import Config
from tinker_actors.protocol.limits.dispatch import Dispatch
from tinker_actors.protocol.limits.rate_window import RateWindow

MIB = 1024 * 1024


def dispatch(max_submits=400, throttled_submits=10, max_bytes=10 * MIB):
    return Dispatch(max_submits, throttled_submits, max_bytes)


def fill(limits, now, weight=1, most=1000):
    """Send as many as may be sent; return their charges."""
    charges = []
    while limits.may_send(now) and len(charges) < most:
        charges.append(limits.sent(weight, now))
    return charges


def test_400_are_submitted_at_a_time():
    limits = dispatch()
    charges = fill(limits, 0.0)
    assert (len(charges), limits.submits) == (400, 400)
    limits.answered(charges[0])
    assert len(fill(limits, 0.0)) == 1


def test_the_defaults_of_the_config_are_the_protocols():
    config = Config()
    assert (config.max_submits, config.throttled_submits, config.dispatch_bytes) == (400, 10, 10 * MIB)


def test_the_byte_balance_may_go_negative_once():
    limits = dispatch(max_bytes=100)
    assert limits.sent(70, 0.0) == 70
    assert limits.may_send(0.0)
    assert limits.sent(1_000_000, 0.0) == 1_000_000
    assert not limits.may_send(0.0)
    limits.answered(70)
    assert not limits.may_send(0.0)
    limits.answered(1_000_000)
    assert limits.may_send(0.0)


def test_a_balance_of_exactly_zero_admits_one_more():
    limits = dispatch(max_bytes=100)
    limits.sent(100, 0.0)
    assert limits.may_send(0.0)
    limits.sent(1, 0.0)
    assert not limits.may_send(0.0)


@pytest.mark.parametrize(
    ("weight", "after", "pause"),
    [
        (1, None, 1.0),
        (131_072, None, 1.0),
        (131_073, None, 5.0),
        (10 * MIB, None, 5.0),
        (1, 3.5, 3.5),
        (10 * MIB, 0.5, 0.5),
        (1, 60.0, 60.0),
    ],
)
def test_a_429_pauses_by_the_size_of_the_request_or_by_the_servers_word(weight, after, pause):
    limits = dispatch()
    limits.pause(weight, 100.0, after)
    assert limits.window.until == 100.0 + pause
    assert not limits.may_send(100.0)
    assert not limits.may_send(100.0 + pause - 0.001)
    assert limits.may_send(100.0 + pause)


def test_a_shorter_pause_does_not_end_a_longer_one():
    limits = dispatch()
    limits.pause(1, 100.0, 30.0)
    limits.pause(1, 101.0, None)
    assert limits.window.until == 130.0
    limits.pause(1, 128.0, 5.0)
    assert limits.window.until == 133.0


def test_after_a_pause_10_are_submitted_at_a_time_for_10_seconds():
    limits = dispatch()
    limits.pause(1, 100.0, None)
    charges = fill(limits, 101.0)
    assert len(charges) == 10
    assert not limits.may_send(110.999)
    assert limits.throttled(110.999)
    assert not limits.throttled(111.0)
    assert len(fill(limits, 111.0)) == 390


def test_a_wish_for_no_pause_throttles_all_the_same():
    limits = dispatch()
    limits.pause(1, 100.0, 0.0)
    assert not limits.may_send(100.0)  # a moment is waited all the same
    assert len(fill(limits, 100.25)) == 10


def test_dispatches_of_a_server_share_their_pauses():
    window = RateWindow()
    limits, others = Dispatch(400, 10, MIB, window), Dispatch(400, 10, MIB, window)
    limits.pause(1, 100.0, 2.0)
    assert not others.may_send(101.9)
    assert len(fill(others, 102.0)) == 10


def test_what_is_under_way_counts_when_throttling_begins():
    limits = dispatch()
    charges = fill(limits, 99.0, most=15)
    limits.pause(1, 100.0, None)
    for charge in charges[:5]:
        assert not limits.may_send(101.0)
        limits.answered(charge)
    assert not limits.may_send(101.0)
    limits.answered(charges[5])
    assert limits.may_send(101.0)


def test_bytes_count_twenty_fold_while_throttled_and_are_given_back_as_charged():
    limits = dispatch(max_bytes=1000)
    before = limits.sent(30, 0.0)
    limits.pause(1, 0.0, 1.0)
    during = limits.sent(30, 1.0)
    assert (before, during) == (30, 600)
    assert limits.sent(19, 1.0) == 380  # 1000 - 30 - 600 - 380 = -10
    assert not limits.may_send(1.0)
    limits.answered(before)
    assert limits.may_send(1.0)
    # Throttling is over; what was charged is what comes back.
    limits.answered(during)
    limits.answered(380)
    assert limits.sent(1000, 50.0) == 1000
    assert limits.may_send(50.0)
    limits.sent(1, 50.0)
    assert not limits.may_send(50.0)


def test_a_new_dispatch_is_not_throttled():
    limits = dispatch()
    assert not limits.throttled(0.0)
    assert limits.may_send(float("-1e9"))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.sampled_from(["send", "answer", "pause"]), st.integers(0, 400_000)), max_size=80))
def test_the_limits_hold_at_every_moment_and_the_balance_comes_back(events):
    limits, now, out = dispatch(max_submits=5, throttled_submits=2, max_bytes=100_000), 0.0, []
    for kind, number in events:
        now += number / 100_000
        if kind == "send" and limits.may_send(now):
            out.append(limits.sent(number, now))
            assert len(out) <= (2 if limits.throttled(now) else 5)
        elif kind == "answer" and out:
            limits.answered(out.pop(number % len(out)))
        elif kind == "pause":
            limits.pause(number, now, None)
            assert not limits.may_send(now)
        assert limits.submits == len(out)
    for charge in out:
        limits.answered(charge)
    later = now + 1000
    limits.sent(100_000, later)
    assert limits.may_send(later)  # exactly the whole balance was there
    limits.sent(1, later)
    assert not limits.may_send(later)


def test_less_urgent_requests_leave_a_quarter_of_the_limits_free():
    limits = dispatch(max_submits=40, max_bytes=1000)
    while limits.may_send(0.0, leave_free=True):
        limits.sent(1, 0.0)
    assert limits.submits == 30
    assert limits.may_send(0.0)
    limits = dispatch(max_submits=40, max_bytes=1000)
    limits.sent(751, 0.0)
    assert not limits.may_send(0.0, leave_free=True)
    assert limits.may_send(0.0)
