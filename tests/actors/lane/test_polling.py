"""How a lane takes turns with its connections, and fetches what is there."""

from __future__ import annotations

import pytest

from tinker_actors import errors
from tinker_actors.actors.lane.options import Terms

from .lane_bench import LaneBench

EVAL = Terms(priority="eval")


def test_polls_take_turns_where_there_are_too_few_connections():
    bench = LaneBench(max_connections=10)  # eight of them are kept for submitting
    for name in "abcde":
        bench.sample(name)
    bench.settle()
    bench.accept()
    assert bench.polled() == ["a", "b"]
    assert bench.works["c"].tracker.reason == "waiting for its turn"
    seen = [bench.polled()]
    for _ in range(85):
        bench.wait(0.1)
        if bench.polled() != seen[-1]:
            seen.append(bench.polled())
    assert seen == [["a", "b"], ["b", "c"], ["c", "d"], ["d", "e"], ["e", "a"], ["a", "b"], ["b", "c"], ["c", "d"]]
    bench.finish("c")
    assert bench.polled() == ["d", "e"]


def test_a_poll_alone_is_held_for_as_long_as_the_server_holds_it():
    bench = LaneBench(max_connections=10)
    for name in "ab":
        bench.sample(name)
    bench.settle()
    bench.accept()
    bench.wait(40.0)
    assert bench.polled() == ["a", "b"]
    assert not bench.peer.given_up


def test_rollouts_take_connections_from_evaluations_at_once():
    bench = LaneBench(max_connections=10)
    for name in "ab":
        bench.sample(name, EVAL)
    bench.settle()
    bench.accept()
    bench.wait(0.2)
    bench.sample("rollout")
    bench.settle()
    bench.accept()
    bench.wait(0.12)
    assert "rollout" in bench.polled()
    bench.wait(10.0)
    assert "rollout" in bench.polled()


def test_many_rollouts_take_connections_from_evaluations_without_a_pause_in_between():
    bench = LaneBench(max_connections=72)  # 64 polls
    evals = [f"e{number}" for number in range(56)]
    rollouts = [f"r{number}" for number in range(50)]
    for name in evals:
        bench.sample(name, EVAL)
    bench.settle()
    while bench.submits():
        bench.accept()
    bench.wait(0.2)
    for name in rollouts:
        bench.sample(name)
    bench.settle()
    while bench.submits():
        bench.accept()
    bench.wait(0.03)
    assert set(rollouts) < set(bench.polled())
    assert len(bench.peer.given_up) == 42  # eight were left free


def test_a_connection_that_a_rollout_leaves_is_there_for_the_next_one():
    bench = LaneBench(max_connections=24)  # 16 polls, two of which are never evaluations
    for name in "abcd":
        bench.sample(name)
    for number in range(20):
        bench.sample(f"e{number}", EVAL)
    bench.settle()
    while bench.submits():
        bench.accept()
    for _ in range(3):
        bench.wait(0.5)
        bench.finish("a", "b", "c", "d")
        assert len(bench.polled()) == 12
        for name in "abcd":
            bench.sample(name)
        bench.settle()
        bench.accept()
        assert set("abcd") < set(bench.polled())
    assert not bench.peer.given_up
    bench.finish("a", "b", "c", "d")
    bench.wait(2.1)
    assert len(bench.polled()) == 14  # no rollout came for a while


def test_waiting_for_a_turn_is_no_silence_of_the_server():
    bench = LaneBench(max_connections=9, liveness_limit=60.0)
    for number in range(40):
        bench.sample(f"s{number}")
    bench.settle()
    while bench.submits():
        bench.accept()
    for _ in range(300):
        bench.wait(1.0)
        for sent in bench.peer.waiting("retrieve_future"):
            if bench.now - sent.at > 20.0:  # a healthy server that holds polls for 20 s
                sent.answer({"type": "try_again"})
    assert not any(work.sink.over for work in bench.works.values())


def test_a_server_that_never_answers_is_found_out_in_turns_too():
    bench = LaneBench(max_connections=9, liveness_limit=20.0)
    samples = [bench.sample(f"s{number}") for number in range(3)]
    bench.settle()
    bench.accept()
    bench.wait(300.0)
    assert all(isinstance(sample.error, errors.StalledError) for sample in samples)


def test_a_poll_asks_for_protobuf_and_counts_itself():
    bench = LaneBench()
    bench.sample("s")
    bench.settle()
    bench.accept()
    (poll,) = bench.peer.waiting("retrieve_future")
    assert poll.headers["Accept"] == "application/x-protobuf, application/json"
    assert poll.headers["X-Tinker-Request-Type"] == "Sample"
    assert poll.headers["X-Tinker-Request-Iteration"] == "0"
    assert poll.body == {"request_id": "s", "allow_metadata_only": True}
    bench.wait(30.0)
    bench.not_yet()
    assert bench.peer.waiting("retrieve_future")[0].headers["X-Tinker-Request-Iteration"] == "1"


def test_request_ids_that_need_escapes_are_asked_for_as_they_are():
    bench = LaneBench()
    bench.sample("s")
    bench.settle()
    (sent,) = bench.peer.waiting("asample")
    sent.answer({"request_id": 'a"\\\n\u00e9'})
    bench.settle()
    assert bench.polled() == ['a"\\\n\u00e9']


def test_large_results_are_fetched_within_a_budget_of_bytes():
    bench = LaneBench(response_bytes=1000)
    for name in "abcd":
        bench.sample(name)
    bench.settle()
    bench.accept()
    for sent in bench.peer.waiting("retrieve_future"):
        sent.answer({"status": "complete_metadata", "response_payload_size": 600})
    bench.settle()
    assert bench.polled() == ["a", "b"]  # the balance may become negative once
    assert not any(sent.body["allow_metadata_only"] for sent in bench.peer.waiting("retrieve_future"))
    assert bench.works["a"].tracker.reason == "fetching the result"
    bench.finish("a")
    assert bench.polled() == ["b", "c"]
    bench.cancel("b")
    assert bench.polled() == ["c", "d"]
    bench.peer.waiting("retrieve_future")[0].breaks()
    bench.wait(60.0)
    bench.finish()
    assert all(bench.works[name].sink.result for name in "acd")


@pytest.mark.parametrize(
    ("answer", "status", "most"),
    [
        ({"type": "try_again"}, 200, 14),
        ({"type": "try_again", "queue_state": "paused_capacity"}, 200, 11),
        ({"status": "pending"}, 200, 14),
        ({"detail": "not yet"}, 408, 14),
        ({"detail": "too early"}, 425, 14),
        ({"type": "try_again", "retry_after_ms": 2000}, 200, 6),
        ({"type": "try_again", "retry_after_ms": 0}, 200, 42),
    ],
)
def test_a_server_that_does_not_hold_polls_is_asked_now_and_then(answer, status, most):
    bench = LaneBench(liveness_limit=5.0)
    sample = bench.sample("s")
    bench.settle()
    bench.accept()
    bench.peer.answer_at_once("retrieve_future", lambda _: answer, status)
    bench.wait(10.0)
    assert 2 <= bench.works["s"].tracker.polls <= most
    bench.peer.answer_at_once("retrieve_future", None)
    bench.wait(2.0)
    bench.finish()
    assert sample.result


def test_what_the_server_said_and_said_otherwise_in_turns_is_paced_too():
    bench = LaneBench()
    bench.sample("s")
    bench.settle()
    bench.accept()
    said = [{"type": "try_again"}, {"status": "complete_metadata", "response_payload_size": 5}]
    bench.peer.answer_at_once("retrieve_future", lambda _: said[len(bench.peer.all) % 2])
    bench.wait(10.0)
    assert bench.works["s"].tracker.polls <= 16


def test_a_wait_that_the_server_asked_for_is_no_silence():
    bench = LaneBench(liveness_limit=5.0)
    sample = bench.sample("s")
    bench.settle()
    bench.accept()
    bench.not_yet("s", retry_after_ms=60_000)
    bench.wait(59.0)
    assert not sample.over
    bench.wait(2.0)
    bench.finish()
    assert sample.result
