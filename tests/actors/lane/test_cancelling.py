"""What a lane tells the server of samples that nobody wants any more, wherever they were when they were given up."""

from __future__ import annotations

import pytest

from tinker_actors import errors
from tinker_actors.actors.lane.options import Room, Terms
from tinker_actors.actors.messages import Shutdown
from tinker_actors.runtime.actor import tell

from .lane_bench import LaneBench

TIMED = Terms(timeout=5.0)
IMPATIENT = Terms(retries=0)


def told(bench):
    """Return the ids that the server was asked to cancel, once each has been answered."""
    ids = []
    while waiting := bench.peer.waiting("cancel_future"):
        ids += [sent.body["request_id"] for sent in waiting]
        for sent in waiting:
            sent.answer({"type": "cancel_future"})
        bench.settle()
    return ids


def submitting(terms=TIMED, **config):
    """Return a bench with a sample `s` whose submission is under way."""
    bench = LaneBench(**config)
    sample = bench.sample("s", terms)
    bench.settle()
    assert bench.submits() == ["s"]
    return bench, sample


def cancel(bench):
    bench.cancel("s")


def time_out(bench):
    bench.wait(5.1)


def stall(bench):
    bench.wait(25.0)


GIVING_UP = pytest.mark.parametrize("give_up", [cancel, time_out])


@GIVING_UP
def test_what_is_given_up_while_it_is_submitted_is_cancelled_when_its_id_is_known(give_up):
    bench, _ = submitting()
    give_up(bench)
    assert bench.submits() == ["s"]  # the answer tells the id
    assert told(bench) == []
    bench.accept()
    assert told(bench) == ["s"]
    assert (bench.submits(), bench.polled(), bench.settings.table) == ([], [], {})


@pytest.mark.parametrize("give_up", [cancel, time_out, stall])
def test_what_is_given_up_at_the_server_is_cancelled_at_once(give_up):
    bench, sample = submitting(Terms() if give_up is stall else TIMED, liveness_limit=20.0)
    bench.accept()
    give_up(bench)
    assert told(bench) == ["s"]
    assert bench.settings.table == {}
    assert isinstance(sample.error, errors.StalledError if give_up is stall else errors.TinkerError | None)


def test_what_fails_while_it_is_asked_for_is_cancelled():
    bench, sample = submitting(IMPATIENT)
    bench.accept()
    bench.peer.waiting("retrieve_future")[0].breaks()
    bench.settle()
    assert isinstance(sample.error, errors.APIConnectionError)
    assert told(bench) == ["s"]


@GIVING_UP
@pytest.mark.parametrize("status", [400, 404, 429, 503])
def test_what_was_not_accepted_is_not_sent_again_to_be_cancelled(give_up, status):
    bench, _ = submitting()
    give_up(bench)
    bench.peer.waiting("asample")[0].answer({"detail": "no"}, status)
    bench.wait(100.0)
    assert [sent.endpoint for sent in bench.peer.all] == ["asample"]
    assert bench.settings.table == {}


@GIVING_UP
def test_where_the_answer_is_lost_the_same_request_tells_the_id(give_up):
    bench, _ = submitting()
    give_up(bench)
    (first,) = bench.peer.waiting("asample")
    first.breaks()
    bench.wait(1.0)
    (again,) = bench.peer.waiting("asample")
    assert again.body == first.body
    assert again.headers["X-Idempotency-Key"] == first.headers["X-Idempotency-Key"]
    bench.accept()
    assert told(bench) == ["s"]
    assert bench.settings.table == {}


def test_an_answer_that_cannot_be_read_is_a_lost_one():
    bench, _ = submitting()
    cancel(bench)
    bench.peer.waiting("asample")[0].answer(b"\xff\xff")
    bench.wait(1.0)
    bench.accept()
    assert told(bench) == ["s"]


def test_what_is_given_up_in_the_backoff_behind_a_lost_answer_is_asked_for_and_cancelled():
    bench, _ = submitting()
    bench.peer.waiting("asample")[0].breaks()
    bench.settle()
    assert bench.works["s"].state == "waiting"
    cancel(bench)
    bench.wait(1.0)
    bench.accept()
    assert told(bench) == ["s"]


def test_what_is_given_up_behind_an_answer_that_says_no_is_not_sent_again():
    bench, _ = submitting()
    bench.peer.waiting("asample")[0].answer({"detail": "busy"}, 503)
    bench.settle()
    cancel(bench)
    bench.wait(100.0)
    assert [sent.endpoint for sent in bench.peer.all] == ["asample"]


def test_a_sample_that_may_not_be_repeated_and_whose_answer_is_lost_is_cancelled():
    bench, sample = submitting(IMPATIENT)
    bench.peer.waiting("asample")[0].breaks()
    bench.settle()
    assert isinstance(sample.error, errors.APIConnectionError)
    bench.wait(1.0)
    bench.accept()
    assert told(bench) == ["s"]


@GIVING_UP
def test_what_waits_for_its_connection_is_taken_back(give_up):
    bench, _ = submitting()
    bench.peer.waiting("asample")[0].seen = False
    give_up(bench)
    assert (bench.submits(), bench.settings.table) == ([], {})


def test_a_server_that_stays_away_is_not_asked_for_ever():
    bench, _ = submitting(request_timeout=30.0)
    begun = bench.now
    cancel(bench)
    while bench.settings.table and bench.now < begun + 1000.0:
        for sent in bench.peer.waiting("asample"):
            sent.breaks()
        bench.wait(1.0)
    assert bench.now < begun + 60.0


def test_the_id_of_another_sample_is_not_cancelled():
    bench, _ = submitting()
    wanted = bench.sample("wanted")
    wanted.renews = True
    bench.settle()
    bench.accept("wanted")
    cancel(bench)
    bench.peer.waiting("asample")[0].answer({"request_id": "wanted"})  # an answer that came twice
    bench.settle()
    assert told(bench) == []
    assert bench.polled() == []  # or the server keeps both in one place
    bench.wait(1.0)
    for sent in bench.peer.waiting("asample"):
        sent.answer({"request_id": "wanted, anew" if sent.body["name"] == "wanted" else "s"})
    bench.settle()
    assert told(bench) == ["s"]
    bench.finish()
    assert wanted.result["of"] == "wanted, anew"


def test_telling_is_repeated_until_it_is_answered_or_takes_too_long():
    bench, _ = submitting(request_timeout=30.0)
    bench.accept()
    cancel(bench)
    for _ in range(3):
        bench.peer.waiting("cancel_future")[0].breaks()
        bench.wait(2.0)
    assert told(bench) == ["s"]
    bench, _ = submitting(request_timeout=30.0)
    bench.accept()
    cancel(bench)
    bench.wait(31.0)
    assert bench.settings.table == {}


def test_what_a_lost_answer_left_in_doubt_stays_in_doubt_when_the_next_one_says_no():
    bench, _ = submitting()
    bench.peer.waiting("asample")[0].breaks()
    bench.wait(1.0)
    cancel(bench)  # while it is being submitted for the second time
    bench.peer.waiting("asample")[0].answer({"detail": "busy"}, 503)
    bench.wait(1.0)
    bench.accept()
    assert told(bench) == ["s"]


def test_a_kept_submission_holds_its_place_and_no_room():
    room = Room(1)
    bench, _ = submitting(Terms(room=room), max_submits=1)
    bench.sample("next", Terms(room=room))
    bench.settle()
    cancel(bench)
    assert room.taken == 1
    assert bench.submits() == ["s"]  # the server has no room for more before it has answered
    bench.accept()
    assert bench.submits() == ["next"]


def test_thousands_are_told_a_few_at_a_time_and_none_is_forgotten():
    bench = LaneBench(adaptive_limit=False, max_submits=10_000)
    names = [f"s{number}" for number in range(1000)]
    for name in names:
        bench.sample(name)
    bench.settle()
    for name in names[::2]:
        bench.cancel(name)
    bench.accept()
    for name in names[1::2]:
        bench.cancel(name)
    assert len(bench.peer.waiting("cancel_future")) == 16
    assert sorted(told(bench)) == sorted(names)


def test_a_successor_goes_on_telling():
    bench = LaneBench(adaptive_limit=False)
    for number in range(40):
        bench.sample(f"s{number}")
    bench.settle()
    bench.accept(*(f"s{number}" for number in range(20)))
    for number in range(40):
        bench.cancel(f"s{number}")
    bench.replace()
    bench.settle()
    bench.accept()
    assert sorted(set(told(bench))) == sorted(f"s{number}" for number in range(40))
    assert bench.settings.table == {}


def test_the_end_of_a_lane_leaves_nothing_of_what_was_given_up():
    bench, _ = submitting()
    cancel(bench)
    tell(bench.ref, Shutdown(errors.ClientClosedError("closed")))
    bench.settle()
    assert bench.settings.table == {}
    assert len(bench.peer.all) == 1
