"""A ledger server that misbehaves on demand, and a short program for the real client."""

from __future__ import annotations

from typing import Self

import pytest

import tinker_actors as ta
from tinker_actors.actors.session.messages import SessionSettings
from tinker_actors.clients.machine import machine
from tinker_actors.config import resolve
from tinker_actors.protocol.session_life import NO_RECOVERY, LossPolicy

HANG = 60.0  # seconds; a guard against hangs
STEPS = 3


@pytest.fixture(scope="module")
def running():
    with ta.local_server(engine="ledger") as server:
        yield server


@pytest.fixture
def server(running):
    """The module's server, well-behaved at the beginning and at the end of each test."""
    running.faults.clear()
    yield running
    running.faults.clear()


def datum(number: int) -> ta.Datum:
    ids = [(7 * number + k) % 900 + 1 for k in range(6)]
    return ta.Datum(ta.ModelInput.from_ints(ids[:-1]), {"target_tokens": ids[1:], "weights": [1.0] * 5})


def prompt(number: int) -> ta.ModelInput:
    return ta.ModelInput.from_ints([1, 2, number])


class Program:
    """What a user's program does, and what it must get whatever happens to single requests on the way."""

    def __init__(self, url: str, on_loss: LossPolicy = NO_RECOVERY, **config) -> None:
        settings = SessionSettings(on_loss=on_loss)
        self.service = ta.ServiceClient._over(machine(), resolve(ta.Config(seed=1, **config), base_url=url), settings)
        self.trainer = self.service.create_lora_training_client("local/ledger", rank=4, seed=0)

    def step(self, number: int) -> list[ta.APIFuture]:
        data = [datum(number), datum(number + 1)]
        return [self.trainer.forward_backward(data, "cross_entropy"), self.trainer.optim_step()]

    def train(self) -> list[dict[str, float]]:
        """Submit all steps at once. The ledger's metrics show losses, and the chain of what was applied."""
        futures = [future for number in range(STEPS) for future in self.step(number)]
        return [dict(future.result(HANG).metrics) for future in futures]

    def sample(self) -> list[list[int]]:
        """Sample from the base model and from the trained weights."""
        clients = [
            self.service.create_sampling_client(base_model="local/ledger"),
            self.trainer.save_weights_and_get_sampling_client("ignored"),
        ]
        params = [ta.SamplingParams(max_tokens=4, seed=number, stop=[]) for number in range(4)]
        futures = [client.sample(prompt(number), 1, given) for client in clients for number, given in enumerate(params)]
        return [future.result(HANG).sequences[0].tokens for future in futures]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.service.close(timeout=5)


@pytest.fixture
def program():
    return Program


@pytest.fixture(scope="module")
def undisturbed(running):
    """What the program gets from a server that behaves."""
    running.faults.clear()
    with Program(running.url) as calm:
        return calm.train(), calm.sample()
