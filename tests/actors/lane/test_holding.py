"""Holding: what a lane does with the work of a session that is lost and may be well again."""

from __future__ import annotations

import json

import pytest

from tinker_actors import errors
from tinker_actors.actors.lane.options import Room, Terms
from tinker_actors.actors.lane.work import Call
from tinker_actors.actors.messages import DropSession, HoldSession, ResumeSession, Verdict
from tinker_actors.protocol.endpoints import ENDPOINTS
from tinker_actors.runtime.actor import tell

from .lane_bench import LaneBench

LOST = errors.SessionLostError("The server no longer knows the session.")
CHANNEL = ("sampler-1", 0)


def lose(bench):
    bench.session.enter("lost", LOST)
    tell(bench.ref, HoldSession(bench.session, LOST))
    bench.settle()


def find(bench):
    bench.session.enter("open")
    tell(bench.ref, ResumeSession(bench.session))
    bench.settle()


def give_up(bench):
    bench.session.enter("ended", LOST)
    tell(bench.ref, DropSession(bench.session, LOST))
    bench.settle()


def opened(**config):
    bench = LaneBench(**config)
    bench.session.enter("open")
    bench.session.ref = bench.ref  # suspicions come to nothing
    return bench


def submitting(bench):
    bench.sample("s")
    bench.settle()


def backing_off(bench):
    submitting(bench)
    bench.peer.waiting("asample")[0].answer({"detail": "busy"}, 503)
    bench.settle()


def suspect_at_submit(bench):
    submitting(bench)
    bench.session.ref, keeps = LaneBench().ref, bench.session.ref
    bench.peer.waiting("asample")[0].answer({"detail": "not found"}, 404)
    bench.settle()
    bench.session.ref = keeps


def polling(bench):
    submitting(bench)
    bench.accept()


def poll_backing_off(bench):
    polling(bench)
    bench.peer.waiting("retrieve_future")[0].answer({"detail": "busy"}, 503)
    bench.settle()


def paused(bench):
    polling(bench)
    bench.not_yet(queue_state="paused_rate_limit")


def hearing(bench):
    bench.sample("s", channel=CHANNEL)
    bench.settle()
    bench.accept()


def fetching(bench):
    hearing(bench)
    bench.tell_completions("s", cursor=1, size=1000)


def fetching_later(bench):
    """Wait for others to fetch their results."""
    bench.lane._polling._most_fetches = 0
    fetching(bench)


def suspect_at_poll(bench):
    polling(bench)
    bench.session.ref, keeps = LaneBench().ref, bench.session.ref
    bench.peer.waiting("retrieve_future")[0].answer({"detail": "not found"}, 404)
    bench.settle()
    bench.session.ref = keeps


def turn(bench):
    """Wait for a connection behind a poll that has them all; not of this session."""
    bench.lane._polling.turns.resize(0)
    submitting(bench)
    bench.accept()
    assert bench.works["s"].state == "turn"


def queued(bench):
    """Wait behind a limit."""
    bench.lane._submitting.limit.limit = 0
    submitting(bench)
    assert bench.works["s"].state == "queued"


NOT_ACCEPTED = [queued, submitting, backing_off, suspect_at_submit]
ACCEPTED = [polling, poll_backing_off, paused, hearing, fetching, fetching_later, suspect_at_poll, turn]


def free(bench):
    """Take back what kept the work waiting."""
    bench.lane._polling._most_fetches = 100
    bench.lane._polling.turns.resize(100)
    bench.lane._submitting.limit.limit = 100


def nothing_is_counted(bench):
    lane = bench.lane
    assert lane._submitting.counts()[1:] == (0, 0)
    assert lane._polling.counts() == (0, 0)
    limit = lane._submitting.limit
    assert (limit.submitting, limit.held) == (0, 0)
    assert lane._polling._balance == bench.settings.config.response_bytes


def of_works(bench):
    """Return the requests that are out for works; one may be out for a channel."""
    return [sent for sent in bench.peer.pending if sent.endpoint in ("asample", "retrieve_future")]


@pytest.mark.parametrize("state", [*NOT_ACCEPTED, *ACCEPTED])
def test_held_work_is_neither_sent_nor_asked_for_and_takes_up_no_place(state):
    bench = opened(liveness_limit=20.0)
    state(bench)
    work, sample = bench.works["s"], bench.settings.table[bench.works["s"].id].sink
    assert work.state not in ("new", "done")
    lose(bench)
    free(bench)
    assert work.state == "held"
    assert (work.tracker.reason, work.tracker.detail) == ("recovering", LOST.message)
    nothing_is_counted(bench)
    bench.wait(100.0)
    assert not of_works(bench)
    assert not sample.over, "its silence is not the server's"


@pytest.mark.parametrize("state", NOT_ACCEPTED)
def test_what_was_not_accepted_is_sent_again_unchanged(state):
    bench = opened()
    state(bench)
    before = [(sent.body, sent.headers) for sent in bench.peer.all if sent.endpoint == "asample"]
    lose(bench)
    free(bench)
    bench.wait(3.0)
    find(bench)
    (sent,) = bench.peer.waiting("asample")
    assert all((sent.body, sent.headers) == each for each in before)
    bench.accept()
    bench.finish()
    assert bench.works["s"].sink.result == {"type": "sample", "of": "s"}
    nothing_is_counted(bench)


@pytest.mark.parametrize("state", ACCEPTED)
def test_what_was_accepted_is_asked_for_and_not_sent_again(state):
    bench = opened(liveness_limit=20.0)
    state(bench)
    lose(bench)
    free(bench)
    bench.wait(50.0)
    find(bench)
    (sent,) = bench.peer.waiting("retrieve_future")
    assert sent.body == {"request_id": "s", "allow_metadata_only": True}
    assert bench.lane._submitting.limit.held == 1
    bench.wait(10.0)
    assert not bench.works["s"].sink.over, "the clock of its liveness goes on from there"
    bench.finish()
    assert bench.works["s"].sink.result == {"type": "sample", "of": "s"}
    assert len([sent for sent in bench.peer.all if sent.endpoint == "asample"]) == 1
    nothing_is_counted(bench)


@pytest.mark.parametrize("state", [*NOT_ACCEPTED, *ACCEPTED])
def test_who_takes_over_a_lane_finds_what_is_held(state):
    bench = opened()
    state(bench)
    lose(bench)
    bench.replace()
    bench.wait(50.0)
    assert not of_works(bench)
    assert bench.works["s"].state == "held"
    bench.session.enter("open")
    bench.replace()
    bench.settle()
    if state in NOT_ACCEPTED:
        bench.accept()
    assert bench.lane._submitting.limit.held == 1
    bench.finish()
    assert bench.works["s"].sink.result == {"type": "sample", "of": "s"}
    nothing_is_counted(bench)


@pytest.mark.parametrize("state", [*NOT_ACCEPTED, *ACCEPTED])
def test_who_takes_over_a_lane_whose_session_was_lost_meanwhile_holds_its_work(state):
    bench = opened()
    state(bench)
    bench.session.enter("lost", LOST)  # the lane that was told is dead
    bench.replace()
    bench.wait(1.0)
    assert not of_works(bench)
    assert bench.works["s"].state == "held"
    bench.session.enter("ended", LOST)
    bench.replace()
    bench.settle()
    assert isinstance(bench.works["s"].sink.error, errors.SessionLostError)
    assert not bench.settings.table


@pytest.mark.parametrize("state", [*NOT_ACCEPTED, *ACCEPTED])
def test_held_work_ends_when_it_is_given_up_cancelled_or_too_late(state):
    for end in ("given up", "cancelled", "too late"):
        bench = opened()
        state(bench)
        work = bench.works["s"]
        work.terms = Terms(timeout=30.0)
        bench.lane._set_deadline(work)
        lose(bench)
        if end == "given up":
            give_up(bench)
            assert isinstance(work.sink.error, errors.SessionLostError)
        elif end == "cancelled":
            bench.cancel("s")
        else:
            bench.wait(31.0)
            assert isinstance(work.sink.error, errors.DeadlineExceededError)
            assert "recovering for" in work.sink.error.message
        assert work.state == "done"
        assert work.id not in bench.settings.table
        nothing_is_counted(bench)


def test_what_comes_while_the_session_is_lost_is_held_and_goes_in_the_order_of_coming():
    bench = opened()
    lose(bench)
    for number in range(5):
        bench.sample(f"s{number}")
    bench.settle()
    assert bench.submits() == []
    assert {work.state for work in bench.works.values()} == {"held"}
    find(bench)
    assert bench.submits() == [f"s{number}" for number in range(5)]


def test_what_is_held_keeps_its_place_in_its_room():
    bench, room = opened(), Room(2)
    samples = [bench.sample(f"s{number}", Terms(room=room)) for number in range(4)]
    bench.settle()
    lose(bench)
    assert [bench.works[f"s{number}"].state for number in range(4)] == ["held", "held", "outside", "outside"]
    bench.cancel("s0")
    assert room.taken == 1
    find(bench)
    for _ in range(4):
        bench.accept()
        bench.finish()
        bench.wait(1.0)  # a result waits for submissions that are out
    assert [sample.over for sample in samples] == [False, True, True, True]
    assert (room.taken, len(room.waiting)) == (0, 0)


def test_the_work_of_other_sessions_goes_on():
    bench = opened()
    bench.lane._submitting.limit.limit = 2
    mine, others = bench.session, type(bench.session)()
    names = ["a", "b", "c", "d", "e", "f"]
    for name in names:
        bench.session = mine if name in "bdf" else others
        bench.sample(name)
    bench.settle()
    assert bench.submits() == ["a", "b"]
    bench.session = mine
    lose(bench)
    assert bench.submits() == ["a", "c"], "what was held made room"
    for _ in range(5):
        bench.accept()
        bench.finish()
        bench.wait(1.0)  # a result waits for submissions that are out
    assert [bench.works[name].sink.over for name in names] == [True, False] * 3
    find(bench)
    for _ in range(5):
        bench.accept()
        bench.finish()
        bench.wait(1.0)  # a result waits for submissions that are out
    assert all(work.sink.over for work in bench.works.values())
    nothing_is_counted(bench)


@pytest.mark.parametrize("by", ["loss", "another lane"])
def test_what_must_not_be_sent_twice_is_not_when_its_answer_was_given_up(by):
    bench = opened()
    bench.sample("s", resend=False, request_type="OptimStep")
    bench.sample("t", resend=False, request_type="OptimStep")
    bench.settle()
    bench.accept("t")
    if by == "loss":
        lose(bench)
        assert not bench.works["s"].sink.over
        find(bench)
    else:
        bench.replace()
        bench.settle()
    error = bench.works["s"].sink.error
    assert isinstance(error, errors.OutcomeUnknownError)
    assert "was not sent again" in error.message
    bench.settle()
    assert bench.polled() == ["t"]
    bench.finish("t")
    assert bench.works["t"].sink.result is not None


def test_a_late_verdict_changes_nothing_for_what_is_held_or_goes_on():
    bench = opened()
    suspect_at_poll(bench)
    lose(bench)
    for found in (False, True):
        if found:
            find(bench)
        tell(bench.ref, Verdict(bench.works["s"].id, alive=found))
        bench.settle()
        assert not bench.works["s"].sink.over


def test_a_held_sample_whose_id_is_given_to_another_is_submitted_anew_when_its_session_is_well():
    bench = opened()
    polling(bench)
    bench.works["s"].sink.renews = True
    lose(bench)
    lost, bench.session = bench.session, type(bench.session)()
    other = bench.sample("t")
    bench.settle()
    bench.peer.waiting("asample")[0].answer({"request_id": "s"})
    bench.settle()
    assert bench.works["s"].state == "held"
    bench.wait(20.0)
    assert "s" not in bench.submits()
    bench.accept("t")
    bench.finish("t")
    assert other.over
    bench.session = lost
    find(bench)
    assert bench.submits() == ["s"]


def test_completions_that_go_with_a_lost_session_are_no_refusal_to_tell(caplog):
    bench = opened()
    hearing(bench)
    (sent,) = bench.peer.waiting("retrieve_futures")
    bench.session.enter("lost", LOST)
    sent.answer({"detail": "not found"}, 404)
    tell(bench.ref, HoldSession(bench.session, LOST))
    bench.settle()
    assert bench.works["s"].state == "held"
    assert not caplog.records


def call(bench, **options):
    told = []
    made = Call("get_info", ENDPOINTS["get_info"], b"{}", told.append, told.append, session=bench.session, **options)
    bench.settings.table[made.id] = made
    tell(bench.ref, made)
    bench.settle()
    return made, told


def answer(bench, sent):
    said = {"model_id": "m", "model_data": {"model_name": "n"}, "model_name": "n", "type": "get_info"}
    sent.answer(json.dumps(said).encode())
    bench.settle()


@pytest.mark.parametrize("state", ["sent", "backing off", "suspect", "new"])
def test_a_call_is_held_and_goes_on(state):
    bench = opened()
    if state == "new":
        lose(bench)
    made, told = call(bench)
    if state == "backing off":
        bench.peer.waiting("get_info")[0].answer({}, 503)
        bench.settle()
    elif state == "suspect":
        bench.session.ref = LaneBench().ref
        bench.peer.waiting("get_info")[0].answer({}, 404)
        bench.settle()
        assert made.aside == "suspect"
    if state != "new":
        lose(bench)
    bench.wait(50.0)
    assert made.aside == "held"
    assert not bench.peer.waiting("get_info")
    find(bench)
    (sent,) = bench.peer.waiting("get_info")
    tell(bench.ref, Verdict(made.id, alive=True))
    bench.settle()
    assert not told
    answer(bench, sent)
    assert len(told) == 1
    assert not isinstance(told[0], errors.TinkerError)


@pytest.mark.parametrize("begun", [True, False])
def test_a_held_call_has_its_time_and_is_given_up(begun):
    for end in ("given up", "too late"):
        bench = opened()
        if not begun:
            lose(bench)
        _, told = call(bench, patience=20.0)
        if begun:
            lose(bench)
        if end == "given up":
            give_up(bench)
        else:
            bench.wait(21.0)
        wanted = errors.SessionLostError if end == "given up" else errors.DeadlineExceededError
        assert isinstance(told[0], wanted)
        assert not bench.settings.table
