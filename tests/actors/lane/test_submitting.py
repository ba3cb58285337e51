"""How a lane submits within the server's capacity, and what makes room."""

from __future__ import annotations

import pytest

from tinker_actors.actors.lane.options import Terms

from .lane_bench import LaneBench

# ---------------------------------------------------------------- the server's capacity


def test_refused_samples_go_to_the_front_in_their_order_and_wait_for_ours_to_end():
    bench = LaneBench()
    for number in range(30):
        bench.sample(f"s{number:02}")
    bench.settle()
    assert len(bench.submits()) == 16
    bench.refuse("s05", "s03", "s09")
    bench.accept()
    assert bench.submits() == []  # thirteen are what the server holds
    bench.finish("s00", "s01")
    assert bench.submits() == ["s03", "s05"]
    bench.accept()
    bench.finish("s02", "s04")
    assert bench.submits() == ["s09", "s16"]


def test_a_refusal_takes_no_time_out_while_ours_are_there():
    bench = LaneBench()
    for number in range(20):
        bench.sample(f"s{number:02}")
    bench.settle()
    bench.refuse("s14", "s15")
    bench.accept()
    began = bench.now
    bench.finish("s00")
    assert bench.submits() == ["s14"]
    assert bench.now - began < 0.1


@pytest.mark.parametrize(("headers", "pause"), [({}, 1.0), ({"retry_after": "3"}, 3.0)])
def test_a_refusal_of_all_there_is_pauses(headers, pause):
    bench = LaneBench()
    bench.sample("s")
    bench.settle()
    bench.refuse(**headers)
    bench.wait(pause - 0.1)
    assert bench.submits() == []
    bench.wait(0.2)
    assert bench.submits() == ["s"]


def test_the_servers_own_word_for_a_pause_holds_with_ours_there():
    bench = LaneBench()
    for name in ("a", "b"):
        bench.sample(name)
    bench.settle()
    bench.refuse("b", retry_after="3")
    bench.accept()
    bench.finish("a")
    bench.wait(2.8)
    assert bench.submits() == []
    bench.wait(0.4)
    assert bench.submits() == ["b"]


def test_without_the_adaptive_limit_every_refusal_pauses():
    bench = LaneBench(adaptive_limit=False)
    for name in ("a", "b"):
        bench.sample(name)
    bench.settle()
    bench.refuse("b")
    bench.accept()
    bench.finish("a")
    assert bench.submits() == []
    bench.wait(1.1)
    assert bench.submits() == ["b"]


def test_samples_whose_story_ends_at_the_server_make_room():
    bench = LaneBench()
    for number in range(18):
        bench.sample(f"s{number:02}", Terms(timeout=5.0) if number == 2 else Terms())
    bench.settle()
    bench.refuse("s14", "s15")
    bench.accept()
    bench.cancel("s00")
    assert bench.submits() == ["s14"]
    sent = next(sent for sent in bench.peer.waiting("retrieve_future") if sent.body["request_id"] == "s01")
    sent.answer({"error": "broken", "category": "user"})
    bench.settle()
    assert bench.submits() == ["s14", "s15"]
    bench.wait(5.1)
    assert bench.submits() == ["s14", "s15", "s16"]


def test_a_sample_that_waits_for_capacity_for_long_is_not_taken_for_stalled():
    bench = LaneBench(liveness_limit=20.0)
    waiting = [bench.sample(f"s{number:02}") for number in range(17)][-1]
    bench.settle()
    bench.refuse("s14", "s15")
    bench.accept()
    assert bench.submits() == []
    for _ in range(10):
        bench.wait(10.0)
        bench.not_yet()
    assert not waiting.over
    assert not any(work.sink.over for work in bench.works.values())


def test_cancels_are_told_a_few_at_a_time():
    bench = LaneBench(adaptive_limit=False)
    for number in range(100):
        bench.sample(f"s{number}")
    bench.settle()
    bench.accept()
    for number in range(100):
        bench.cancel(f"s{number}")
    told = 0
    while out := bench.peer.waiting("cancel_future"):
        assert len(out) <= 16
        for sent in out:
            sent.answer()
            told += 1
        bench.settle()
    assert told == 100
    assert not bench.settings.table


# ---------------------------------------------------------------- turns


# ---------------------------------------------------------------- polls and fetches


def test_a_sample_that_the_server_forgot_is_submitted_anew_and_counts_once():
    bench = LaneBench()
    sample = bench.sample("s")
    sample.renews = True
    bench.works["s"].session = None
    bench.settle()
    bench.accept()
    (poll,) = bench.peer.waiting("retrieve_future")
    poll.answer({"detail": "gone"}, 410)
    bench.settle()
    # Without a session to ask, a 410 is taken at its word.
    assert sample.error.status_code == 410
    limit = bench.lane._submitting.limit
    assert (limit.held, limit.submitting) == (0, 0)


# ---------------------------------------------------------------- not yet
