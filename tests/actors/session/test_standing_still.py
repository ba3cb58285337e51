"""A session in a process that stood still, or whose clock jumped: it asks before it gives up."""

from __future__ import annotations

from tinker_actors.errors import SessionLostError, TinkerError

from .stage import SAID, Stage

HOUR = 3600.0


def jump(runtime, seconds):
    """Let the clock go on without anybody looking."""
    runtime.clock.advance_to(runtime.clock.now() + seconds)


def test_a_session_asks_before_it_is_given_up():
    stage = Stage(session_id="session-1", said=SAID)
    stage.answer("session_heartbeat", type="session_heartbeat")
    jump(stage.runtime, HOUR)
    stage.runtime.run_until(lambda: stage.sent() == ["session_heartbeat"])
    assert not stage.lanes.dropped
    stage.answer("session_heartbeat", type="session_heartbeat")
    jump(stage.runtime, HOUR)
    stage.runtime.run_until(lambda: stage.sent() == ["session_heartbeat"])
    stage.fail("session_heartbeat", TinkerError("the connection was cut long ago"))
    stage.runtime.run_until(lambda: stage.sent() == ["session_heartbeat"])
    assert not stage.lanes.dropped


def test_without_a_single_question_that_stayed_unanswered_nothing_is_known():
    stage = Stage(session_id="session-1", said=SAID)
    limit = stage.service.config.silence_limit
    end = stage.runtime.clock.now() + 5 * limit
    stage.runtime.run_until(lambda: stage.runtime.clock.now() > end)
    assert stage.sent() == [
        "session_heartbeat"
    ]  # it is on its way all the time: the lane that carries it may stand still
    assert not stage.lanes.dropped


def test_unanswered_questions_for_the_whole_limit_are_an_answer():
    stage = Stage(session_id="session-1", said=SAID)
    began, limit = stage.runtime.clock.now(), stage.service.config.silence_limit

    def dropped():
        if stage.sent():
            stage.fail("session_heartbeat", TinkerError("nobody answers"))
        return bool(stage.lanes.dropped)

    stage.runtime.run_until(dropped)
    waited = stage.runtime.clock.now() - began
    assert limit < waited <= limit + 2 * stage.service.config.heartbeat_interval
    (drop,) = stage.lanes.dropped
    assert isinstance(drop.error, SessionLostError)
