"""`creation_timeout` on a simulated network: it ends what it is said to end when it is said to, on the fake clock."""

from __future__ import annotations

import pytest

from tinker_actors.errors import APIConnectionError, DeadlineExceededError
from tinker_actors.testing import Mishaps, Simulation
from tinker_actors.testing.network import CALM

LIMIT = 5.0
PATH = "tinker://session-1:train:0/weights/a"
SLOW = Mishaps(refused=0, request_lost=0, answer_lost=0, twice=0, busy=0, throttled=0, slow=1.0, longest=3.0)


def sampler(service):
    client = service.create_sampling_client(base_model="local/ledger")
    return client, client._ready


def model(service):
    client = service.create_lora_training_client("local/ledger")
    return client, client._ready


def restored(service):
    client = service.create_training_client_from_state(PATH)
    return client, client._ready


def information(service):
    client = service.create_lora_training_client("local/ledger")
    return client, client._get_info_future()


def capabilities(service):
    return service, service._get_server_capabilities_future()


EVERYTHING = pytest.mark.parametrize("create", [sampler, model, restored, information, capabilities])


def seconds(simulation, future):
    begun = simulation.runtime.clock.now()
    simulation.wait_for(future)
    return simulation.runtime.clock.now() - begun


@pytest.mark.parametrize("seed", range(8))
@EVERYTHING
def test_nobody_listens(create, seed):
    simulation = Simulation(seed, CALM, creation_timeout=LIMIT)
    simulation.network.up = False
    service = simulation.service()
    _client, future = create(service)
    assert seconds(simulation, future) == pytest.approx(LIMIT, abs=0.1)
    assert isinstance(future.exception(0), APIConnectionError)
    simulation.close(service)


@EVERYTHING
def test_the_server_goes_away_when_the_session_is_there(create):
    simulation = Simulation(1, CALM, creation_timeout=LIMIT)
    service = simulation.service()
    _first, ready = sampler(service)
    simulation.wait_for(ready)
    simulation.network.up = False
    _client, future = create(service)
    assert seconds(simulation, future) == pytest.approx(LIMIT, abs=0.1)
    simulation.close(service)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("create", [sampler, model])
def test_many_slow_steps_have_the_limit_together(create, seed):
    simulation = Simulation(seed, SLOW, creation_timeout=LIMIT)
    service = simulation.service()
    _client, future = create(service)
    took = seconds(simulation, future)
    if future.exception(0) is None:
        assert create is model or took < LIMIT + 0.1  # a model may be accepted in time and made later
    else:
        assert isinstance(future.exception(0), DeadlineExceededError)
        assert took == pytest.approx(LIMIT, abs=0.1)
    simulation.close(service)
