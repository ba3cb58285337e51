"""How a lane submits within the server's capacity, takes turns with its connections, and fetches what is there."""

from __future__ import annotations

import pytest

from tinker_actors import errors
from tinker_actors.actors.lane.options import Terms
from tinker_actors.net.transport import Reply

from .lane_bench import LaneBench

EVAL = Terms(priority="eval")

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


# ---------------------------------------------------------------- polls and fetches


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


def test_the_successor_of_a_dead_lane_asks_for_what_was_accepted_and_resends_the_rest():
    bench = LaneBench()
    samples = [bench.sample(name) for name in "ab"]
    bench.settle()
    bench.accept("a")
    key = bench.peer.waiting("asample")[0].headers["X-Idempotency-Key"]
    bench.replace()
    bench.settle()
    assert (bench.polled(), bench.submits()) == (["a"], ["b"])
    assert bench.peer.waiting("asample")[0].headers["X-Idempotency-Key"] == key
    bench.accept()
    bench.finish()
    assert all(sample.result for sample in samples)
    limit = bench.lane._submitting.limit
    assert (limit.held, limit.submitting) == (0, 0)


def test_a_lane_that_was_taken_for_stuck_ends_nothing_twice():
    bench = LaneBench()
    sample = bench.sample("s")
    bench.settle()
    bench.accept()
    (poll,) = bench.peer.waiting("retrieve_future")
    old, old_answer = bench.lane, poll.on_answer
    bench.ref.actor_stopped.set()
    bench.start()
    bench.settle()
    old_answer(Reply(200, {"content-type": "application/json"}, b'{"type":"sample"}'))
    old._desk.finish(bench.works["s"], None)
    assert not sample.over
    bench.finish()
    assert sample.result


# ---------------------------------------------------------------- not yet


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
