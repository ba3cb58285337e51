"""What a view's terms do to its samples in the lane: urgency, deadlines, retries, rooms."""

from __future__ import annotations

import pytest

from tinker_actors import errors
from tinker_actors.actors.lane.options import Room, Terms
from tinker_actors.actors.messages import DropSession, Shutdown
from tinker_actors.runtime.actor import tell

from .lane_bench import LaneBench

EVAL, ROLLOUT, TRAIN = (Terms(priority=priority) for priority in ("eval", "rollout", "train"))


def test_the_more_urgent_go_first_and_inside_one_urgency_in_order():
    bench = LaneBench(max_submits=1)
    bench.sample("first")
    bench.settle()
    for name, terms in (("e1", EVAL), ("r1", ROLLOUT), ("e2", EVAL), ("t1", TRAIN), ("r2", ROLLOUT), ("t2", TRAIN)):
        bench.sample(name, terms)
    bench.settle()
    order = []
    while bench.submits():
        order += bench.submits()
        bench.accept()
    assert order == ["first", "t1", "t2", "r1", "r2", "e1", "e2"]


def test_a_rollout_that_comes_behind_thousands_of_evaluations_is_sent_before_them():
    bench = LaneBench(adaptive_limit=False, max_submits=100_000)
    for number in range(3_000):
        bench.sample(f"e{number}", EVAL)
    bench.runtime.step()  # the lane begins to look at them
    bench.sample("rollout")
    bench.settle()
    assert bench.submits().index("rollout") < 100
    assert len(bench.submits()) == 3_001


def test_a_turn_of_the_lane_sends_a_few_and_looks_at_a_few():
    bench = LaneBench(adaptive_limit=False, max_submits=100_000)
    for number in range(1_000):
        bench.sample(f"s{number}")
    for _ in range(30):
        before = len(bench.peer.all)
        bench.runtime.step()
        assert len(bench.peer.all) - before <= 16
    bench.settle()
    assert len(bench.submits()) == 1_000


def test_evaluations_leave_submits_free_only_beside_urgent_work():
    bench = LaneBench(adaptive_limit=False, max_submits=40)
    for number in range(100):
        bench.sample(f"e{number}", EVAL)
    bench.settle()
    assert len(bench.submits()) == 40
    bench.sample("rollout")
    bench.settle()
    bench.accept()
    assert len(bench.submits()) == 30  # a quarter is free for the next rollouts
    assert "rollout" in bench.submits()


# ---------------------------------------------------------------- deadlines


def test_a_deadline_drops_the_sample_and_tells_the_server():
    bench = LaneBench()
    late = bench.sample("late", Terms(timeout=5.0))
    bench.settle()
    bench.accept()
    bench.wait(4.9)
    assert not late.over
    bench.wait(0.2)
    assert isinstance(late.error, errors.DeadlineExceededError)
    assert "sent 1 time, accepted as request late" in str(late.error)
    assert (late.error.request_id, late.error.outcome) == ("late", "unknown")
    assert [sent.body for sent in bench.peer.waiting("cancel_future")] == [{"request_id": "late"}]
    assert bench.polled() == []


def test_a_deadline_counts_from_the_call_and_ends_what_was_never_sent():
    bench = LaneBench(max_submits=1)
    bench.sample("first")
    bench.settle()
    waits = bench.sample("waits", Terms(timeout=1.0))
    bench.wait(1.1)
    assert isinstance(waits.error, errors.DeadlineExceededError)
    assert waits.error.outcome == "not_applied"
    bench.accept()
    assert bench.submits() == []


def test_a_sample_that_is_done_leaves_no_deadline_behind():
    bench = LaneBench()
    before = len(bench.runtime.timers)
    done = bench.sample("done", Terms(timeout=1000.0))
    bench.settle()
    bench.accept()
    bench.finish()
    assert done.result == {"type": "sample", "of": "done"}
    assert len(bench.runtime.timers) == before


# ---------------------------------------------------------------- retries


@pytest.mark.parametrize("retries", [0, 2])
def test_submissions_that_fail_in_passing_are_repeated_as_often_as_the_terms_say(retries):
    bench = LaneBench()
    sample = bench.sample("s", Terms(retries=retries))
    sent = 0
    while not sample.over:
        bench.settle()
        for each in bench.peer.waiting("asample"):
            each.answer({"detail": "busy"}, 503)
            sent += 1
        bench.wait(60.0)
    assert sent == retries + 1
    assert sample.error.status_code == 503


def test_polls_that_fail_count_too_and_throttling_does_not():
    bench = LaneBench()
    sample = bench.sample("s", Terms(retries=1))
    bench.settle()
    bench.refuse()
    bench.wait(2.0)
    bench.accept()
    for status in (429, 503, 429):
        bench.peer.waiting("retrieve_future")[0].answer({"detail": "no"}, status)
        bench.wait(60.0)
        assert not sample.over
    bench.peer.waiting("retrieve_future")[0].breaks()
    bench.settle()
    assert isinstance(sample.error, errors.APIConnectionError)


# ---------------------------------------------------------------- rooms


def in_room(bench, room, count):
    samples = [bench.sample(f"s{number}", Terms(room=room)) for number in range(count)]
    bench.settle()
    return samples


def test_a_room_holds_so_many_and_lets_the_next_in_in_order():
    bench, room = LaneBench(), Room(2)
    samples = in_room(bench, room, 5)
    assert bench.submits() == ["s0", "s1"]
    assert bench.works["s2"].tracker.reason == "waiting for room"
    bench.accept()
    assert bench.submits() == []
    bench.finish("s1")
    assert bench.submits() == ["s2"]
    for _ in range(10):
        bench.accept()
        bench.finish()
    assert all(sample.result for sample in samples)
    assert (room.taken, len(room.waiting)) == (0, 0)


def test_others_are_not_held_up_by_a_full_room():
    bench, room = LaneBench(), Room(1)
    in_room(bench, room, 3)
    bench.sample("other")
    bench.settle()
    assert bench.submits() == ["s0", "other"]


def drop_session(bench):
    tell(bench.ref, DropSession(bench.session, errors.SessionLostError("lost")))
    bench.settle()


def refuse_for_good(bench):
    bench.peer.waiting("asample")[0].answer({"detail": "no"}, 400)
    bench.settle()


@pytest.mark.parametrize(
    "end",
    [
        lambda bench: (bench.accept("s0"), bench.finish("s0")),
        refuse_for_good,
        lambda bench: bench.cancel("s0"),
        lambda bench: (bench.accept("s0"), bench.cancel("s0")),
        lambda bench: bench.wait(11.0),
    ],
    ids=["done", "refused", "cancelled while sent", "cancelled at the server", "too late"],
)
def test_every_end_gives_the_place_back_once(end):
    bench, room = LaneBench(), Room(1)
    bench.sample("s0", Terms(room=room, timeout=10.0))
    others = [bench.sample(f"s{number}", Terms(room=room)) for number in (1, 2)]
    bench.settle()
    end(bench)
    assert [name for name in bench.submits() if name != "s0"] == ["s1"]  # the other one's answer may be waited for
    assert (room.taken, len(room.waiting)) == (1, 1)
    bench.accept()
    bench.finish()
    bench.accept()
    bench.finish()
    assert all(other.result for other in others)
    assert room.taken == 0


def test_who_ends_while_waiting_outside_takes_no_place():
    bench, room = LaneBench(), Room(1)
    in_room(bench, room, 3)
    bench.cancel("s1")
    bench.accept()
    bench.finish("s0")
    assert bench.submits() == ["s2"]
    assert (room.taken, len(room.waiting)) == (1, 0)


def test_a_lost_session_empties_the_room_without_sending_anything():
    bench, room = LaneBench(), Room(2)
    samples = in_room(bench, room, 500)
    drop_session(bench)
    assert len(bench.peer.all) == 2
    assert all(isinstance(sample.error, errors.SessionLostError) for sample in samples)
    assert (room.taken, len(room.waiting)) == (0, 0)


def test_a_shutdown_empties_the_room_without_sending_anything():
    bench, room = LaneBench(), Room(2)
    samples = in_room(bench, room, 50)
    tell(bench.ref, Shutdown(errors.ClientClosedError("closed")))
    for _ in range(5):
        bench.runtime.step()
    assert len(bench.peer.all) == 2
    assert all(sample.error for sample in samples)
    assert room.taken == 0


@pytest.mark.parametrize("miscounted", [0, 1, 7])
def test_the_successor_of_a_dead_lane_counts_the_rooms_anew(miscounted):
    bench, room = LaneBench(), Room(2)
    samples = in_room(bench, room, 6)
    bench.accept("s0")
    room.taken = miscounted  # whatever the dead lane left
    bench.replace()
    bench.settle()
    assert room.taken == 2
    assert bench.polled() == ["s0"]
    assert bench.submits() == ["s1"]
    for _ in range(10):
        bench.accept()
        bench.finish()
    assert all(sample.result for sample in samples)
    assert (room.taken, len(room.waiting)) == (0, 0)
