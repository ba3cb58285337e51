"""Attaching: a session opened elsewhere is kept alive from here, and a copy of its sampler takes a number."""

from __future__ import annotations

import msgspec
import pytest

from tinker_actors.actors.session.messages import Meet, Met
from tinker_actors.errors import (
    ConfigError,
    SessionLostError,
    TinkerError,
)

from .stage import SAID, Stage


def test_an_attached_session_is_neither_asked_about_nor_created_and_beats_at_once():
    stage = Stage(session_id="session-1", said=SAID)
    assert stage.sent() == ["session_heartbeat"]
    assert stage.service.session_id == "session-1"
    assert msgspec.json.decode(stage.service.said) == msgspec.json.decode(SAID)
    assert stage.service.server.sample_join_sampling_session is True
    assert msgspec.json.decode(stage.lanes.calls[0].body)["session_id"] == "session-1"


def test_it_asks_for_what_it_was_not_told():
    stage = Stage(session_id="session-1")
    entry = stage.copy()
    assert stage.sent() == ["client_config"]
    stage.answer("client_config", sample_join_sampling_session=True)
    assert stage.sent() == ["session_heartbeat", "join_sampling_session"]
    stage.answer("join_sampling_session", client_counter=3)
    assert entry().clone_id == 3


def test_a_session_that_is_gone_fails_the_copies_and_later_ones():
    stage = Stage(session_id="session-1", said=SAID)
    entry = stage.copy()
    stage.fail("session_heartbeat", TinkerError("gone", status_code=410))
    assert len(stage.lanes.dropped) == 1
    for copied in (entry, stage.copy()):
        with pytest.raises(SessionLostError):
            copied()


def test_a_refused_session_sends_nothing_and_says_why():
    stage = Stage(session_id="session-1", said=SAID, refusal=ConfigError("no key"))
    entry = stage.copy()
    assert stage.sent() == []
    with pytest.raises(ConfigError, match="no key"):
        entry()


@pytest.mark.parametrize("said", [SAID, b""])
def test_the_end_of_an_attached_session_is_not_told_to_the_server(said):
    stage = Stage(session_id="session-1", said=said)
    before = stage.sent()
    stage.close()
    assert stage.sent() == before
    assert stage.service.over.done()
    assert not stage.service.session.is_alive()


def test_a_session_of_our_own_is_told_to_the_server_and_met_when_it_is_there():
    stage = Stage()
    stage.service.session.tell(Meet(stage.ear.actor_ref))
    stage.settle()
    stage.answer("client_config")
    assert stage.ear.heard == []
    stage.answer("create_session", type="create_session", session_id="session-9")
    assert isinstance(stage.ear.heard[0], Met)
    assert stage.service.session_id == "session-9"
    assert stage.sent() == []  # the first heartbeat has its time
    stage.close()
    assert stage.sent() == ["finish_session"]
    assert not stage.service.over.done()
    stage.answer("finish_session")
    assert stage.service.over.done()
    assert not stage.service.session.is_alive()


@pytest.mark.parametrize("answered", ["nothing", "client_config", "create_session"])
def test_the_end_of_a_session_waits_only_for_what_may_be_there_to_be_ended(answered):
    stage = Stage()
    if answered != "nothing":
        stage.answer("client_config")
    if answered == "create_session":
        stage.answer("create_session", type="create_session", session_id="session-9")
    stage.close()
    if answered == "nothing":
        assert stage.service.over.done(), "no session was asked for"
    else:
        assert not stage.service.over.done()
        began = stage.runtime.clock.now()
        stage.runtime.run_until(stage.service.over.done)  # nobody answers any more
        assert stage.runtime.clock.now() - began <= 2.0
        assert len(stage.runtime.timers) == 0, "no timer of an actor that has ended is left"
