"""Samples in a process that stood still, or whose clock jumped: nobody is given up because nobody looked."""

from __future__ import annotations

from tinker_actors.actors.lane.options import DEFAULT_TERMS, Terms
from tinker_actors.errors import StalledError

from .lane_bench import LaneBench

HOUR = 3600.0


def jump(runtime, seconds):
    """Let the clock go on without anybody looking."""
    runtime.clock.advance_to(runtime.clock.now() + seconds)


def test_samples_survive_a_clock_that_jumps_and_stall_when_the_server_is_silent():
    bench = LaneBench(liveness_limit=600.0)
    sample = bench.sample("a", DEFAULT_TERMS)
    bench.settle()
    bench.accept()
    for _ in range(3):
        jump(bench.runtime, HOUR)
        bench.wait(1.0)
        assert not sample.over
        bench.wait(300.0)
        bench.not_yet()
    bench.wait(599.0)
    assert not sample.over
    bench.wait(12.0)
    assert isinstance(sample.error, StalledError)


def test_a_submission_is_repeated_after_standing_still_for_longer_than_the_patience():
    bench = LaneBench()
    sample = bench.sample("a", Terms(timeout=60.0, until_accepted=True))
    bench.settle()
    jump(bench.runtime, HOUR)
    (sent,) = bench.peer.waiting("asample")
    sent.breaks()  # what was on the wire did not outlive the pause
    bench.wait(5.0)
    assert not sample.over
    bench.accept()
    bench.finish()
    assert sample.result is not None
