"""Samplers that are copies: they join with a number of their own."""

from __future__ import annotations

import msgspec
import pytest

from tinker_actors.errors import (
    APIResponseValidationError,
    TinkerError,
)
from tinker_actors.protocol.replies.outcomes import Done
from tinker_actors.protocol.replies.plain import CLONE_RANGE

from .session.stage import JSON, SAID, SAMPLER, Stage


def test_a_copy_joins_once_and_has_what_the_original_knew():
    stage = Stage(session_id="session-1", said=SAID)
    entry = stage.copy(base_model="b", model_path="tinker://x/sampler_weights/y", weights_version=7)
    call = stage.take("join_sampling_session")
    assert (call.method, call.path) == ("POST", "/api/v1/join_sampling_session")
    assert msgspec.json.decode(call.body) == {"type": "join_sampling_session", "sampling_session_id": SAMPLER}
    assert call.session is stage.service.link
    call.on_done(Done(call.read(JSON, b'{"type": "join_sampling_session", "client_counter": 5}')))
    stage.settle()
    made = entry()
    assert (made.state, made.clone_id, made.sampling_session_id) == ("ready", 5, SAMPLER)
    assert (made.base_model, made.weights_version) == ("b", 7)
    assert made.model_path == "tinker://x/sampler_weights/y"
    assert stage.sent() == ["session_heartbeat"]


def test_where_the_server_counts_no_copies_the_number_is_drawn():
    drawn = set()
    for _ in range(20):
        stage = Stage(session_id="session-1", said=b"{}")
        drawn.add(stage.copy()().clone_id)
        assert stage.sent() == ["session_heartbeat"]
    assert len(drawn) == 20
    assert all(1 <= number <= CLONE_RANGE for number in drawn)


@pytest.mark.parametrize("counter", [0, -1, CLONE_RANGE + 1, "x", None, 1.5])
def test_a_number_that_can_not_be_one_fails_the_copy(counter):
    stage = Stage(session_id="session-1", said=SAID)
    entry = stage.copy()
    stage.answer("join_sampling_session", client_counter=counter)
    with pytest.raises(APIResponseValidationError, match="client_counter"):
        entry()


def test_a_server_that_can_not_be_reached_fails_the_copy_with_its_own_error():
    stage = Stage(session_id="session-1", said=SAID)
    entry = stage.copy()
    stage.fail("join_sampling_session", TinkerError("nobody answers"))
    with pytest.raises(TinkerError, match="nobody answers") as error:
        entry()
    assert any("here.py:1" in note for note in error.value.__notes__)
