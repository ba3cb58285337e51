"""Tracker and Progress: what a user is told of a pending operation."""

from __future__ import annotations

from typing import get_args

import pytest

from tinker_actors.runtime.progress import Tracker, WaitReason


def test_a_new_tracker_knows_when_it_was_born_and_keeps_that():
    tracker = Tracker("sample", 5.0)
    tracker.enter("waiting for room", 6.0)
    tracker.enter("waiting for newer weights", 7.5)

    assert tracker.born == 5.0
    assert tracker.since == 7.5


def test_progress_shows_reason_detail_counts_and_tags():
    tracker = Tracker("sample", 1.0, "waiting for its sampler", ("eval", "step 7"))
    tracker.attempts, tracker.polls, tracker.request_id = 2, 3, "r"
    tracker.enter("backing off", 4.0, "503")
    tracker.enter("backing off", 5.0, "504")
    progress = tracker.read()

    assert (progress.what, progress.reason, progress.detail, progress.since) == ("sample", "backing off", "504", 4.0)
    assert (progress.attempts, progress.polls, progress.request_id) == (2, 3, "r")
    assert progress.tags == ("eval", "step 7")
    assert Tracker("sample", 1.0).read().tags == ()


def test_the_history_tells_it_in_one_line():
    tracker = Tracker("optim_step", 1.0)
    assert tracker.history(3.0) == "optim_step: queued here for 2.0 s"
    tracker.attempts, tracker.polls, tracker.request_id = 1, 1, "r"
    tracker.enter("queued at the server", 3.0, "busy")

    assert tracker.history(4.5) == (
        "optim_step: queued at the server for 1.5 s, sent 1 time, accepted as request r, 1 poll, last: busy"
    )


def test_a_tracker_takes_no_attributes_beside_its_own():
    assert not hasattr(Tracker("sample", 0.0), "__dict__")


class Server:
    trouble = ""


REASONS = [reason for reason in get_args(WaitReason) if reason != "done"]


@pytest.mark.parametrize("reason", REASONS)
def test_a_server_that_does_not_answer_shows_whatever_is_waited_for(reason):
    server = Server()
    tracker = Tracker("sample", 1.0, reason, server=server)
    assert (tracker.read().reason, tracker.read().detail) == (reason, "")
    server.trouble = "connection refused"
    progress = tracker.read()
    assert progress.detail == "connection refused"
    assert progress.reason in (reason, "backing off")
    assert progress.reason != "queued at the server"
    assert "last: connection refused" in tracker.history(2.0)
    server.trouble = ""
    assert (tracker.read().reason, tracker.read().detail) == (reason, "")


def test_what_is_known_of_the_operation_itself_is_not_hidden_by_that():
    server = Server()
    server.trouble = "connection refused"
    tracker = Tracker("sample", 1.0, server=server)
    tracker.enter("backing off", 1.0, "its own error")
    assert tracker.read().detail == "its own error"
    tracker.enter("done", 2.0)
    assert (tracker.read().reason, tracker.read().detail) == ("done", "")
