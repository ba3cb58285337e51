"""How soon the same thing is asked for again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinker_actors.protocol.limits.pacing import HELD, PAUSED_GAP, Spacing, next_question

MOST_A_SECOND = 4


def test_a_server_that_holds_is_asked_again_at_once():
    assert next_question(0, 30.0) == (0.0, 0)
    assert next_question(7, 1.0) == (0.0, 0)
    assert next_question(7, HELD) == (0.0, 7)  # bearable, but no reason to forget


def test_a_server_that_answers_at_once_is_asked_more_and_more_rarely_up_to_once_a_second():
    pauses, soon = [], 0
    for _ in range(7):
        pause, soon = next_question(soon, 0.0)
        pauses.append(pause)
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]
    assert next_question(10**9, 0.0)[0] == 1.0


def test_the_time_the_answer_took_is_part_of_the_gap():
    assert next_question(4, 0.2)[0] == pytest.approx(0.8)
    assert next_question(0, 0.2)[0] == 0.0


@pytest.mark.parametrize("held", [0.0, 0.3, 30.0])
def test_the_server_is_not_asked_sooner_than_it_said(held):
    assert next_question(0, held, after=3.0)[0] == 3.0
    assert next_question(0, held, paused=True, after=3.0)[0] == 3.0


def test_a_paused_operation_is_asked_for_once_a_second():
    assert next_question(0, 0.0, paused=True)[0] == PAUSED_GAP
    assert next_question(0, 0.6, paused=True)[0] == pytest.approx(0.4)
    assert next_question(0, 30.0, paused=True)[0] == 0.0


def test_a_server_that_wants_to_be_asked_soon_is_asked_that_soon_and_no_sooner():
    assert next_question(9, 0.0, after=0.0)[0] == HELD
    assert next_question(9, 0.0, after=0.5)[0] == 0.5


answers = st.tuples(st.floats(0, 40), st.booleans(), st.none() | st.floats(0, 5))


quick = st.just((0.0, False, None))
just_held = st.just((HELD, False, None))


@given(st.lists(answers | quick | just_held, max_size=200))
def test_whatever_it_answers_one_future_costs_four_questions_a_second_at_most(answers):
    now, soon, asked = 0.0, 0, [0.0]
    for held, paused, after in answers:
        pause, soon = next_question(soon, held, paused=paused, after=after)
        assert pause >= (after or 0.0)
        now += held + pause
        asked.append(now)
    for begin in asked:
        assert sum(begin <= at < begin + 10.0 for at in asked) <= 10 * MOST_A_SECOND + 1


def test_questions_that_others_cause_are_spaced_and_the_first_after_a_while_goes_at_once():
    spacing, now, gaps = Spacing(), 0.0, []
    for _ in range(8):
        gaps.append(spacing.wait(now))
        now += gaps[-1]
        spacing.asked(now)
        spacing.answered(now)
    assert gaps[0] == 0.0
    assert gaps[1:] == sorted(gaps[1:])
    assert (gaps[1], gaps[-1]) == (0.1, 1.0)
    spacing.failed(now, 0.5)
    assert spacing.wait(now) == 0.5
    now += 60.0
    assert spacing.wait(now) == 0.0
    spacing.asked(now)
    spacing.answered(now)
    assert spacing.wait(now) == pytest.approx(0.1)
