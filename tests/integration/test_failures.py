"""What happens when a part fails: lanes, server, session."""

from __future__ import annotations

import logging
import threading

import pytest

import tinker_actors as ta
from tinker_actors.actors import platform
from tinker_actors.events import LaneReplaced, SessionLost

from ..pykka_internals import actor_of  # noqa: TID252 - the tests are no package that is installed
from .conftest import HANG
from .helpers import datum, eventually, prompt

pytestmark = pytest.mark.slow

GREEDY = ta.SamplingParams(max_tokens=4, temperature=0.0, stop=[])


@pytest.mark.parametrize("lane", ["control", "train", "sample"])
def test_a_lane_that_dies_is_replaced_and_its_requests_are_resent(service, trainer, lane, caplog):
    sampler = service.create_sampling_client(base_model="local/tiny").result(HANG)
    trainer.result(HANG)
    lanes = service._service.lanes
    replaced = threading.Event()
    lanes.hub.subscribe(lambda _: replaced.set(), LaneReplaced)
    dead = lanes.refs[lane]
    samples = [sampler.sample(prompt(f"{i}"), 1, ta.SamplingParams(max_tokens=200, stop=[])) for i in range(10)]
    steps = [trainer.forward_backward([datum()] * 20, "cross_entropy"), trainer.optim_step()]
    model = service.create_lora_training_client("local/tiny", rank=2)
    actor_of(dead).receive = None  # the next message raises: a defect
    dead.tell("anything")
    assert replaced.wait(HANG)
    for future in [*samples, *steps]:
        future.result(HANG)
    model.result(HANG)
    assert lanes.refs[lane] is not dead
    assert not dead.is_alive()
    assert f"The {lane} lane was replaced" in caplog.text


def test_killing_the_server_in_the_middle_of_a_step_fails_everything_within_the_liveness_limit():
    config = ta.Config(liveness_limit=5.0, creation_timeout=5.0)
    with ta.local_server() as server:
        service = ta.ServiceClient(base_url=server.url, config=config)
        trainer = service.create_lora_training_client("local/tiny", rank=4).result(HANG)
        sampler = service.create_sampling_client(base_model="local/tiny").result(HANG)
        pending = [trainer.forward_backward([datum("a long one " * 20)] * 200, "cross_entropy") for _ in range(5)]
        pending += [trainer.optim_step(), trainer.save_state("late")]
        pending += [sampler.sample(prompt("x"), 16, ta.SamplingParams(max_tokens=1500, stop=[]))]
        pending[0].accepted.result(HANG)
        server.kill()
        errors = [future.exception(HANG) for future in pending]
        service.close(timeout=0)
    stalled = [error for error in errors if isinstance(error, ta.StalledError)]
    assert stalled
    typed = (ta.StalledError, ta.PrecedingOperationFailed, ta.ClientClosedError)
    for error in errors:
        assert isinstance(error, typed), error
    message = str(stalled[0])
    assert "no sign of" in message
    assert "limit 5 s" in message
    assert "sent" in message
    assert stalled[0].outcome == "unknown"


def test_a_server_that_comes_back_in_time_is_not_noticed(tmp_path):
    with ta.local_server(data_dir=str(tmp_path)) as server, ta.ServiceClient(base_url=server.url) as service:
        sampler = service.create_sampling_client(base_model="local/tiny").result(HANG)
        sampler.sample(prompt("a"), 1, GREEDY).result(HANG)
        lost = threading.Event()
        service.events.subscribe(lambda _: lost.set(), SessionLost)
        port = int(server.url.rsplit(":", 1)[1])
        server.kill()
        waiting = sampler.sample(prompt("b"), 1, GREEDY)
        with ta.local_server(data_dir=str(tmp_path), port=port):
            # A new process knows nothing of the session: 404, a heartbeat, and the truth.
            with pytest.raises(ta.SessionLostError) as error:
                waiting.result(HANG)
            assert lost.wait(HANG)
            with pytest.raises(ta.SessionLostError):
                sampler.sample(prompt("c"), 1, GREEDY).result(HANG)
            with pytest.raises(ta.SessionLostError):
                service.create_lora_training_client("local/tiny").result(HANG)
    assert "create_training_client_from_state_with_optimizer" in error.value.advice


def test_a_session_finished_behind_our_back_fails_what_is_pending(service, server):
    import requests

    trainer = service.create_lora_training_client("local/tiny", rank=2).result(HANG)
    session_id = trainer._ready.result(0).split(":train:")[0]
    url = f"{server.url}/api/v1/sessions/{session_id}/finish"
    requests.post(url, json={"reason": {"type": "success"}, "detail": None}, timeout=HANG).raise_for_status()
    with pytest.raises(ta.SessionLostError):
        trainer.optim_step().result(HANG)
    with pytest.raises(ta.SessionLostError):
        trainer.forward([datum()], "cross_entropy").result(HANG)


def test_heartbeats_keep_coming(server):
    config = ta.Config(heartbeat_interval=0.05)
    with ta.ServiceClient(base_url=server.url, config=config) as service:
        service.create_sampling_client(base_model="local/tiny").result(HANG)
        session = actor_of(service._service.session)
        first = session._last_sign
        eventually(lambda: session._last_sign > first)


def test_a_crashed_registry_is_restarted_with_what_it_had(service, caplog):
    sampler = service.create_sampling_client(base_model="local/tiny").result(HANG)
    registry = service._service.registry
    actor_of(registry).receive = None
    registry.tell("anything")
    eventually(lambda: service._service.registry is not registry)
    assert sampler.sample(prompt("a"), 1, GREEDY).result(HANG)
    assert service.create_sampling_client(base_model="local/tiny").sample(prompt("b"), 1, GREEDY).result(HANG)


def test_a_crashed_training_actor_fails_its_futures_and_its_handle_is_dead(service, trainer, caplog):
    trainer.result(HANG)
    barrier = trainer.forward_backward([datum()] * 200, "cross_entropy")
    actor_of(trainer.actor_ref).receive = None
    trainer.actor_ref.tell("anything")
    with pytest.raises(ta.ActorCrashedError):
        barrier.result(HANG)
    with pytest.raises(ta.ActorCrashedError):
        trainer.optim_step().result(HANG)
    other = service.create_lora_training_client("local/tiny", rank=2)
    other.forward([datum()], "cross_entropy").result(HANG)


def test_closing_finishes_what_is_in_flight(server):
    with ta.ServiceClient(base_url=server.url) as service:
        trainer = service.create_lora_training_client("local/tiny", rank=4)
        sampler = service.create_sampling_client(base_model="local/tiny")
        pending = [trainer.forward_backward([datum()] * 50, "cross_entropy"), trainer.optim_step()]
        pending += [sampler.sample(prompt("a"), 1, GREEDY) for _ in range(10)]
    assert all(future.result(0) for future in pending)
    with pytest.raises(ta.ClientClosedError):
        trainer.optim_step()
    with pytest.raises(ta.ClientClosedError):
        sampler.sample(prompt("a"), 1, GREEDY)


def test_closing_says_what_it_had_to_leave(server, caplog):
    with caplog.at_level(logging.WARNING, "tinker_actors"):
        service = ta.ServiceClient(base_url=server.url)
        trainer = service.create_lora_training_client("local/tiny", rank=4).result(HANG)
        pending = trainer.forward_backward([datum("a long one " * 20)] * 500, "cross_entropy")
        service.close(timeout=0)
    with pytest.raises(ta.ClientClosedError):
        pending.result(HANG)
    assert "unfinished" in caplog.text


def test_lanes_that_can_not_start_fail_what_they_were_given(monkeypatch, caplog):
    def nothing(*_):
        raise ValueError("no transport can be made")

    # Whatever a user can give that would lead here is refused before; see test_config.
    monkeypatch.setattr(platform, "_transport", nothing)
    with ta.ServiceClient(base_url="http://localhost:9") as service:
        trainer = service.create_lora_training_client("local/tiny")
        with pytest.raises(ta.ActorCrashedError, match="lane can't be kept alive"):
            trainer.result(HANG)
        with pytest.raises(ta.ActorCrashedError):
            trainer.optim_step().result(HANG)
    assert 0 < caplog.text.count("lane was replaced") < 60
