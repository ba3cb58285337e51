"""Consequences: what a failure says of the server, and whom it is told to."""

from __future__ import annotations

import pytest

from tinker_actors import errors
from tinker_actors.protocol.consequences import (
    answer_lost,
    applied_behind,
    may_be_done,
    never_filled,
    outcome_unknown,
    preceded,
    tainted,
)
from tinker_actors.protocol.requests.operations import Operation

STEP, SAVE = Operation("optim_step", (), step=True), Operation("save_state", ())

STALLED = errors.StalledError("silent")
NONSENSE = errors.APIResponseValidationError("nonsense")
FORGOTTEN = errors.OutcomeUnknownError("forgotten")
FAILED = errors.RequestFailedError("the engine failed")
REFUSED = errors.BadRequestError("no such loss", status_code=400)
BROKEN = errors.InternalServerError("oops", status_code=500)
TIMED_OUT = errors.InternalServerError("the gateway gave up", status_code=504)
CUT = errors.APIConnectionError("cut")
NEVER_LEFT = errors.APIConnectionError("no connection", outcome="not_applied")


@pytest.mark.parametrize(
    ("error", "unknown", "accepted_done", "refused_done", "lost"),
    [
        (STALLED, True, True, True, True),
        (NONSENSE, True, True, True, True),
        (FORGOTTEN, True, True, True, False),
        (FAILED, False, False, True, False),
        (REFUSED, False, False, False, False),
        (BROKEN, False, False, True, False),
        (TIMED_OUT, False, False, True, True),
        (CUT, False, False, True, True),
        (NEVER_LEFT, False, False, False, False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_a_failure_says_of_the_server(error, unknown, accepted_done, refused_done, lost):
    assert outcome_unknown(error) is unknown
    assert may_be_done(error, accepted=True) is accepted_done
    assert may_be_done(error, accepted=False) is refused_done
    assert answer_lost(error) is lost


def test_a_number_that_can_not_be_filled_says_what_the_server_said_and_how_to_go_on():
    error = never_filled(7, REFUSED)
    assert "number 7" in error.message
    assert "no such loss" in error.message
    assert (error.status_code, error.outcome) == (400, "not_applied")
    assert "server_orders=False" in str(error)


@pytest.mark.parametrize(
    ("make", "outcome"),
    [
        (lambda error: applied_behind(error, "r1", empty=False), "applied"),
        (lambda error: applied_behind(error, "r1", empty=True), "applied"),
        (lambda error: tainted("optim_step", error, "held"), "not_applied"),
        (lambda error: preceded(STEP, error), None),
    ],
    ids=["applied behind", "nothing to apply", "tainted", "preceded"],
)
def test_a_consequence_leads_to_its_cause(make, outcome):
    error = make(FAILED)
    assert error.preceding is FAILED
    assert "the engine failed" in str(error)
    if outcome is not None:
        assert error.outcome == outcome


@pytest.mark.parametrize(
    "make", [lambda error: applied_behind(error, None, empty=False), lambda error: preceded(STEP, error)]
)
def test_who_is_told_of_the_consequence_is_told_of_the_cause(make):
    told = []
    cause = errors.RequestFailedError("no")
    cause.on_told = lambda: told.append("cause")
    make(cause).on_told()
    assert told == ["cause"]


def test_what_may_be_called_again_says_so():
    assert "Call save_state again" in str(preceded(SAVE, FAILED))
    assert "save_state" not in str(preceded(STEP, FAILED).advice)
