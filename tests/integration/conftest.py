"""One embedded server for the whole folder; every test has a session of its own on it."""

from __future__ import annotations

import pytest

import tinker_actors as ta

HANG = 60.0  # seconds; a guard against hangs, tenfold what anything here takes


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    with ta.local_server(data_dir=str(tmp_path_factory.mktemp("server"))) as running:
        yield running


@pytest.fixture
def service(server):
    with ta.ServiceClient(base_url=server.url) as client:
        yield client


@pytest.fixture
def trainer(service):
    return service.create_lora_training_client("local/tiny", rank=4, seed=0)
