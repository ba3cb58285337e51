"""A process that stood still, or whose clock jumped: nobody is given up because nobody looked."""

from __future__ import annotations

from tinker_actors.actors.lane.options import DEFAULT_TERMS, Terms
from tinker_actors.errors import SessionLostError, StalledError, TinkerError

from .lane_bench import LaneBench
from .test_session_attach import SAID, Stage

HOUR = 3600.0


def jump(runtime, seconds):
    """Let the clock go on without anybody looking."""
    runtime.clock.advance_to(runtime.clock.now() + seconds)


def test_a_session_asks_before_it_is_given_up():
    stage = Stage(session_id="session-1", said=SAID)
    stage.answer("heartbeat", type="session_heartbeat")
    jump(stage.runtime, HOUR)
    stage.runtime.run_until(lambda: stage.sent() == ["heartbeat"])
    assert not stage.lanes.dropped
    stage.answer("heartbeat", type="session_heartbeat")
    jump(stage.runtime, HOUR)
    stage.runtime.run_until(lambda: stage.sent() == ["heartbeat"])
    stage.fail("heartbeat", TinkerError("the connection was cut long ago"))
    stage.runtime.run_until(lambda: stage.sent() == ["heartbeat"])
    assert not stage.lanes.dropped


def test_without_a_single_question_that_stayed_unanswered_nothing_is_known():
    stage = Stage(session_id="session-1", said=SAID)
    limit = stage.service.config.silence_limit
    end = stage.runtime.clock.now() + 5 * limit
    stage.runtime.run_until(lambda: stage.runtime.clock.now() > end)
    assert stage.sent() == ["heartbeat"]  # it is on its way all the time: the lane that carries it may stand still
    assert not stage.lanes.dropped


def test_unanswered_questions_for_the_whole_limit_are_an_answer():
    stage = Stage(session_id="session-1", said=SAID)
    began, limit = stage.runtime.clock.now(), stage.service.config.silence_limit

    def dropped():
        if stage.sent():
            stage.fail("heartbeat", TinkerError("nobody answers"))
        return bool(stage.lanes.dropped)

    stage.runtime.run_until(dropped)
    waited = stage.runtime.clock.now() - began
    assert limit < waited <= limit + 2 * stage.service.config.heartbeat_interval
    (drop,) = stage.lanes.dropped
    assert isinstance(drop.error, SessionLostError)


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
