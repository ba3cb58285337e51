"""A simulated server without mishaps, a service and a model on it; and a source that answers at the test's word."""

from __future__ import annotations

import pytest

from tinker_actors.testing import Simulation
from tinker_actors.testing.network import CALM

from .answering import Source


@pytest.fixture
def simulation():
    return Simulation(0, CALM)


@pytest.fixture
def service(simulation):
    service = simulation.service()
    yield service
    if not service.closed:
        simulation.close(service)


@pytest.fixture
def trainer(service):
    return service.create_lora_training_client("local/ledger", rank=4, seed=1)


@pytest.fixture
def source():
    return Source()
