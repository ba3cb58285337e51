"""What becomes of a lane's work when the lane dies, or is taken for dead."""

from __future__ import annotations

from tinker_actors.net.transport import Reply

from .lane_bench import LaneBench


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
