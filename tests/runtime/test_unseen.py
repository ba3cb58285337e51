"""Failures that nobody looked at: a line for a failure, with all that it ended."""

from __future__ import annotations

import pytest

from tinker_actors.errors import (
    ActorCrashedError,
    ClientClosedError,
    PrecedingOperationFailed,
    RequestFailedError,
    StepTaintedError,
)
from tinker_actors.runtime.unseen import Unseen, count_cost, counted


class Later:
    """Keeps callbacks with the seconds they are for."""

    def __init__(self):
        self.posted = []

    def post_later(self, delay, callback):
        self.posted.append((delay, callback))

    def go_on(self):
        ((delay, callback),) = self.posted
        self.posted.clear()
        callback()
        return delay


@pytest.fixture
def later():
    return Later()


@pytest.fixture
def unseen(later):
    return Unseen(later, list)


def lines(caplog):
    found = [record.getMessage() for record in caplog.records if record.name == "tinker_actors"]
    caplog.clear()
    return found


def test_operations_are_counted_by_name_the_most_frequent_first():
    assert counted(["optim_step", "sample", "sample"]) == "3 operations (2 sample, 1 optim_step)"
    assert counted(["sample"]) == "1 operation (1 sample)"


def test_copies_of_an_error_and_what_was_not_done_because_of_it_are_one_failure(unseen, later, caplog):
    reason = RequestFailedError("out of memory")
    unseen.note("forward_backward", reason)
    for _ in range(100):
        unseen.note("optim_step", PrecedingOperationFailed("not done", preceding=reason.replica()))
    crash = ActorCrashedError("it broke")
    unseen.note("sample", crash)
    assert not lines(caplog)
    later.go_on()
    first, second = lines(caplog)
    assert "101 operations (100 optim_step, 1 forward_backward): out of memory" in first
    assert "failure of sample: it broke" in second


def test_what_builds_on_a_failed_step_is_the_same_failure(unseen, later, caplog):
    """Also at several removes, and where it was the server that applied what it should not have."""
    reason = RequestFailedError("out of memory")
    refused = PrecedingOperationFailed("Not applied, because operation 3 before it failed", preceding=reason)
    unseen.note("optim_step", StepTaintedError("applied all the same", preceding=reason))
    unseen.note("forward_backward", StepTaintedError("not sent", preceding=refused))
    unseen.note("optim_step", refused)
    later.go_on()
    (line,) = lines(caplog)
    assert line == "Nobody looked at the failure of 3 operations (2 optim_step, 1 forward_backward): out of memory"


@pytest.mark.parametrize("first", ["the cause", "a consequence"])
def test_what_comes_later_of_a_cause_that_was_told_is_no_news(unseen, later, caplog, first):
    reason = RequestFailedError("out of memory")
    consequence = PrecedingOperationFailed("not done", preceding=reason)
    unseen.note("forward_backward", reason if first == "the cause" else consequence)
    later.go_on()
    assert len(lines(caplog)) == 1
    unseen.note("optim_step", consequence)
    later.go_on()
    assert lines(caplog) == []
    unseen.note("forward_backward", RequestFailedError("out of memory"))
    later.go_on()
    assert len(lines(caplog)) == 1, "it has happened again"


def test_of_many_reasons_the_most_frequent_are_told_and_the_rest_is_counted(unseen, later, caplog):
    for number in range(300):
        unseen.note("sample", RequestFailedError(f"reason {number}"))
        if number >= 298:
            unseen.note("sample", RequestFailedError(f"reason {number}"))
    later.go_on()
    told = lines(caplog)
    assert len(told) == 11
    assert "reason 298" in told[0]
    assert "reason 299" in told[1]
    assert "290 operations (290 sample), for 290 other reasons" in told[-1]


def test_where_failures_keep_coming_they_are_told_more_and_more_rarely_and_soon_again_after_a_pause(
    unseen, later, caplog
):
    delays = []
    for _ in range(9):
        unseen.note("sample", RequestFailedError("no"))
        delays.append(later.go_on())
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert later.go_on() == 60
    assert not later.posted
    unseen.note("sample", RequestFailedError("no"))
    assert later.go_on() == 1
    assert len(lines(caplog)) == 10


def test_what_somebody_counts_he_tells(unseen, later, caplog):
    ended = ClientClosedError("closed")
    cost = count_cost(ended)
    assert count_cost(ended.replica()) is cost
    unseen.note("sample", ended.replica())
    assert not later.posted
    assert not lines(caplog)


def test_a_fork_leaves_what_was_gathered_to_the_parent(unseen, caplog):
    unseen.note("sample", RequestFailedError("no"))
    unseen.begin_anew()
    unseen.report()
    assert not lines(caplog)
