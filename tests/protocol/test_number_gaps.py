"""Open numbers: what is offered under them, and what follows from each answer."""

from __future__ import annotations

import pytest

from tinker_actors.errors import APIStatusError, TinkerError
from tinker_actors.protocol.number_gaps import Gaps, GoOn, Offer, Probed, Unfilled

BOTH = ["protobuf", "json"]


def refusal(status=400):
    return APIStatusError("no", status_code=status)


def test_something_is_offered_under_each_open_number_and_nothing_goes_before_all_are_taken():
    gaps = Gaps()
    first, second = gaps.fill([3, 4], 7, BOTH, 9)
    assert (first.number, first.token, first.dialect, first.since) == (3, 7, "protobuf", 9)
    assert gaps.answered(first, taken=True) == []
    assert gaps.open
    assert gaps.answered(second, taken=True) == [GoOn()]
    assert not gaps.open


def test_where_the_server_waits_for_no_number_nothing_is_offered():
    gaps = Gaps()
    assert gaps.fill([], 7, BOTH, 9) == []
    assert not gaps.open


def test_what_is_refused_is_offered_in_the_other_dialect_and_then_given_up():
    gaps = Gaps()
    (offer,) = gaps.fill([3], 7, BOTH, 9)
    assert gaps.answered(offer, taken=False, refusal=refusal(415)) == [offer]
    assert offer.dialect == "json"
    last = refusal()
    (unfilled,) = gaps.answered(offer, taken=False, refusal=last)
    assert isinstance(unfilled, Unfilled)
    assert (unfilled.number, unfilled.refusal, unfilled.since) == (3, last, 9)
    assert gaps.open, "whatever is called later has it tried again"
    (again,) = gaps.try_again(BOTH, 12)
    assert (again.number, again.dialect, again.since) == (3, "protobuf", 12)
    assert gaps.try_again(BOTH, 12) == [], "it is out"
    assert gaps.answered(again, taken=True) == [GoOn()]


def test_what_got_no_answer_is_not_offered_in_another_dialect():
    gaps = Gaps()
    (offer,) = gaps.fill([3], 7, BOTH, 9)
    (unfilled,) = gaps.answered(offer, taken=False, refusal=TinkerError("stalled"))
    assert isinstance(unfilled, Unfilled)


def test_a_conflict_says_that_the_number_is_counted():
    gaps = Gaps()
    (offer,) = gaps.fill([3], 7, ["json"], 9)
    assert gaps.answered(offer, taken=False, refusal=refusal(409)) == [GoOn()]
    assert not gaps.open


def test_of_several_that_are_refused_the_first_is_named_when_no_other_is_out():
    gaps = Gaps()
    offers = gaps.fill([3, 4, 5], 7, ["json"], 9)
    assert gaps.answered(offers[0], taken=False, refusal=refusal()) == []
    assert gaps.answered(offers[2], taken=True) == []
    (unfilled,) = gaps.answered(offers[1], taken=False, refusal=refusal())
    assert unfilled.number == 3


@pytest.mark.parametrize("waits", [True, False])
def test_a_probe_says_in_which_dialect_it_was_taken(waits):
    gaps = Gaps()
    probe = gaps.probe(3, 7, BOTH, 9, waits=waits)
    assert isinstance(probe, Offer)
    assert probe.probe
    assert gaps.open == waits
    assert gaps.answered(probe, taken=False, refusal=refusal(500)) == [probe]
    assert gaps.answered(probe, taken=True) == [Probed(3, "json")]
    assert not gaps.open


def test_behind_a_probe_that_nothing_was_taken_of_no_filler_is_tried():
    gaps = Gaps()
    probe = gaps.probe(3, 7, BOTH, 9, waits=True)
    gaps.answered(probe, taken=False, refusal=refusal())
    last = refusal()
    assert gaps.answered(probe, taken=False, refusal=last) == [Probed(3, None)]
    (unfilled,) = gaps.fill([4], 7, BOTH, 11)
    assert (unfilled.number, unfilled.refusal, unfilled.since) == (3, last, 9)
