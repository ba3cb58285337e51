"""Users of a session: who is told what when it is lost, well again, given up, or was never there."""

from __future__ import annotations

import pytest

from tinker_actors.actors.messages import DropSession, HoldSession, NumberTaken, ResumeSession, Suspicion, TakeNumber
from tinker_actors.actors.session.messages import Meet, Met
from tinker_actors.errors import SessionLostError, TinkerError
from tinker_actors.protocol.session_life import LossPolicy

from .stage import SAID, Ear, Stage

GONE = TinkerError("gone", status_code=410)
HOUR = LossPolicy(patience=3600.0)


def lost(on_loss=HOUR):
    """Return a stage with a session that had a user, `stage.ear`, and was lost."""
    stage = Stage(session_id="session-1", said=SAID, on_loss=on_loss)
    stage.service.session.tell(Meet(stage.ear.actor_ref))
    stage.settle()
    stage.fail("session_heartbeat", GONE)
    return stage


def heard(ear):
    return [type(message) for message in ear.heard]


def asks(stage, message):
    ear = Ear(stage.runtime)
    stage.service.session.tell(message(ear.actor_ref))
    stage.settle()
    return ear


def beat(stage):
    """Let time pass until the next heartbeat is sent."""
    stage.runtime.run_until(lambda: "session_heartbeat" in stage.sent())


def well(stage):
    beat(stage)
    stage.answer("session_heartbeat", type="session_heartbeat")


def test_a_loss_is_told_to_users_and_lanes_and_so_is_that_it_is_well_again():
    stage = lost()
    assert heard(stage.ear) == [Met, HoldSession]
    assert [type(message) for message in stage.lanes.dropped] == [HoldSession]
    assert "no longer knows" in stage.ear.heard[-1].error.message
    assert stage.service.link.state == "lost"
    well(stage)
    assert heard(stage.ear) == [Met, HoldSession, ResumeSession]
    assert [type(message) for message in stage.lanes.dropped] == [HoldSession, ResumeSession]
    assert (stage.service.link.state, stage.service.link.error) == ("open", None)


def test_who_asks_while_it_is_lost_waits_and_is_answered_before_he_is_told_to_go_on():
    stage = lost()
    number = asks(stage, lambda ref: TakeNumber(ref, "model"))
    meeting = asks(stage, Meet)
    assert number.heard == meeting.heard == []
    well(stage)
    assert heard(number) == [NumberTaken, ResumeSession]
    assert heard(meeting) == [Met, ResumeSession]


def test_who_waits_is_told_when_it_is_given_up():
    stage = lost(LossPolicy(patience=25.0))
    began = stage.runtime.clock.now()
    asked = asks(stage, lambda ref: TakeNumber(ref, "model"))

    def ended():
        if stage.sent():
            stage.fail("session_heartbeat", GONE)
        return stage.service.link.state == "ended"

    stage.runtime.run_until(ended)
    stage.settle()
    assert 25.0 <= stage.runtime.clock.now() - began <= 26.0
    assert heard(asked) == [DropSession]
    assert heard(stage.ear) == [Met, HoldSession, DropSession]
    assert all(isinstance(ear.heard[-1].error, SessionLostError) for ear in (asked, stage.ear))
    assert asked.heard[-1].error is not stage.ear.heard[-1].error, "each has his own to hang frames on"
    assert heard(asks(stage, Meet)) == [DropSession], "and who comes later"


def test_without_recovery_it_is_given_up_at_once_and_nobody_is_told_to_hold():
    stage = Stage(session_id="session-1", said=SAID)
    stage.service.session.tell(Meet(stage.ear.actor_ref))
    stage.settle()
    stage.fail("session_heartbeat", GONE)
    assert heard(stage.ear) == [Met, DropSession]
    assert [type(message) for message in stage.lanes.dropped] == [DropSession]


def test_a_session_that_was_never_there_is_no_loss():
    stage = Stage(on_loss=HOUR)
    asked = asks(stage, Meet)
    assert asked.heard == []
    assert stage.service.link.state == "opening"
    stage.fail("client_config", TinkerError("no", status_code=403))
    assert heard(asked) == [DropSession]
    assert stage.service.link.state == "ended"


def test_a_service_that_ends_drops_what_is_held():
    stage = lost()
    stage.close()
    assert heard(stage.ear)[:3] == [Met, HoldSession, DropSession]
    assert stage.ear.heard[2].error.message == stage.service.ended.message
    assert stage.service.over.done()


def test_time_in_which_the_process_stood_still_does_not_count():
    stage = lost(LossPolicy(patience=100.0))
    stage.runtime.clock.advance_to(stage.runtime.clock.now() + 3600.0)
    end = stage.runtime.clock.now() + 20.0
    stage.runtime.run_until(lambda: stage.runtime.clock.now() > end)
    assert stage.service.link.state == "lost"
    well(stage)
    assert stage.service.link.state == "open"


@pytest.mark.parametrize("found", [True, False])
def test_a_suspicion_while_it_is_lost_needs_no_verdict(found):
    stage = lost()
    lane = asks(stage, lambda ref: Suspicion(TinkerError("not found", status_code=404), ref, 7))
    assert lane.heard == []
    if found:
        well(stage)
        assert lane.heard == []


def test_the_dead_are_forgotten():
    stage = lost()
    users = stage.service.session.actor_inbox.actor._users
    well(stage)
    for _ in range(500):
        ear = asks(stage, Meet)
        ear.actor_ref.actor_stopped.set()
    assert len(users._refs) < 200
    assert stage.ear.actor_ref in users._refs
