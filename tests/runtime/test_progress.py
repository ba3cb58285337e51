"""Tracker and Progress: what a user is told of a pending operation."""

from __future__ import annotations

from tinker_actors.runtime.progress import Tracker


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
