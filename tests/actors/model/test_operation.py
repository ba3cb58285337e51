"""Pending operations: what the lane's story becomes for their actor, and who is told of an end."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tinker_actors.actors.messages import AdoptionFailed, ChunkFailed
from tinker_actors.actors.model.operation import ActorSink, Pending, settle_error
from tinker_actors.errors import APIStatusError, OutcomeUnknownError, RequestFailedError
from tinker_actors.protocol.requests.operations import Operation
from tinker_actors.runtime.actor import RuntimeActor
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.progress import Tracker
from tinker_actors.testing.step import StepRuntime


class Ear(RuntimeActor):
    """Keeps what it is told."""

    def __init__(self, runtime):
        super().__init__(runtime)
        self.heard = []

    def receive(self, message):
        self.heard.append(message)


@pytest.fixture
def runtime():
    return StepRuntime(0)


@pytest.fixture
def ear(runtime):
    ear = Ear(runtime)
    runtime.run(ear)
    return ear


def heard(ear, runtime):
    while runtime.step():
        pass
    return ear.heard


@pytest.mark.parametrize("status", [404, 410, 400])
@pytest.mark.parametrize("accepted", [True, False])
def test_what_became_of_an_accepted_operation_that_the_server_forgot_is_not_known(status, accepted, ear, runtime):
    work = SimpleNamespace(id=7, request_id="r-1" if accepted else None, tracker=SimpleNamespace(what="optim_step"))
    ActorSink(ear.actor_ref).failed(work, APIStatusError("gone", status_code=status))
    (message,) = heard(ear, runtime)
    assert isinstance(message, ChunkFailed)
    assert (message.work_id, message.accepted) == (7, accepted)
    assert isinstance(message.error, OutcomeUnknownError) == (accepted and status != 400)
    assert message.error.status_code == status


@pytest.mark.parametrize("waits", [True, False])
def test_a_sampler_that_waits_for_weights_is_told_that_there_will_be_none(waits, ear, runtime):
    operation = Operation("save_weights_for_sampler", ())
    pending = Pending(operation, APIFuture(Tracker("save", 0.0)), ear.actor_ref if waits else None)
    settle_error(pending, RequestFailedError("disk full"))
    assert "disk full" in str(pending.future._failure())
    assert [type(message) for message in heard(ear, runtime)] == [AdoptionFailed] * waits
    pending.future._looked_at = True
