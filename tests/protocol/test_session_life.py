"""The life of a session: its table, and what a loss leads to."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest

import tinker_actors as ta
from tinker_actors.protocol.session_life import NO_RECOVERY, TRANSITIONS, LossPolicy, SessionLife, SessionState

STATES = get_args(SessionState)
WAYS = {
    "opening": [],
    "open": ["open"],
    "lost": ["open", "lost"],
    "ended": ["open", "lost", "ended"],
}
ERROR = ta.SessionLostError("It is gone.")


def life(state):
    found = SessionLife()
    for each in WAYS[state]:
        found.enter(each, None if each == "open" else ERROR)
    assert found.state == state
    return found


def test_every_state_can_be_reached_and_can_end():
    assert set(TRANSITIONS) == set(STATES) == set(WAYS)
    assert all("ended" in TRANSITIONS[state] for state in STATES if state != "ended")
    assert not TRANSITIONS["ended"]
    assert "open" in TRANSITIONS["lost"], "a loss can end well"


@pytest.mark.parametrize(("before", "after"), list(itertools.product(STATES, STATES)))
def test_what_the_table_has_is_taken_and_nothing_else(before, after):
    session, error = life(before), None if after == "open" else ERROR
    if after in TRANSITIONS[before]:
        session.enter(after, error)
        assert (session.state, session.error) == (after, error)
    else:
        with pytest.raises(ValueError, match=f"{before} can't become {after}"):
            session.enter(after, error)
        assert session.state == before


@pytest.mark.parametrize(("state", "error"), [("lost", None), ("ended", None), ("open", ERROR)])
def test_what_is_not_well_says_why_and_what_is_well_does_not(state, error):
    with pytest.raises(ValueError, match="can't become"):
        life("lost" if state == "open" else "open").enter(state, error)


def test_without_recovery_nothing_is_held():
    assert not NO_RECOVERY.holds(0.0)


def test_a_policy_with_patience_holds_for_so_long():
    policy = LossPolicy(patience=5.0)
    assert policy.holds(0.0)
    assert policy.holds(4.9)
    assert not policy.holds(5.0)
