"""Connections that close without a word, and answers that come twice: everything still has its own result, once."""

from __future__ import annotations

import pytest

import tinker_actors as ta

from .between import Between
from .conftest import HANG
from .helpers import datum, prompt

pytestmark = pytest.mark.slow


@pytest.fixture
def between(server):
    with Between(server.url, lambda asked: None) as made:
        yield made


def sampled(service, count):
    """Return the tokens of seeded samples, each after a prompt of its own."""
    sampler = service.create_sampling_client(base_model="local/tiny")
    params = {"max_tokens": 6, "seed": 1}
    futures = [sampler.sample(prompt(f"number {number}"), 1, params) for number in range(count)]
    return [future.result(HANG).sequences[0].tokens for future in futures]


def trained(service):
    trainer = service.create_lora_training_client("local/tiny", rank=4, seed=0)
    losses = []
    for _ in range(3):
        gradient = trainer.forward_backward([datum()] * 2, "cross_entropy")
        trainer.optim_step({"learning_rate": 0.05}).result(HANG)
        losses.append(gradient.result(HANG).metrics["loss:sum"])
    return losses


@pytest.mark.parametrize("fault", ["closes", "doubles"])
def test_samples_and_steps_are_as_on_a_good_network(between, service, fault):
    expected = sampled(service, 40), trained(service)
    between.closes = fault == "closes"
    between.times = 2 if fault == "doubles" else 1
    with ta.ServiceClient(base_url=between.url) as through:
        tokens, losses = sampled(through, 40), trained(through)

    assert tokens == expected[0]
    assert losses == pytest.approx(expected[1], rel=1e-6)


def test_a_server_that_does_not_know_a_repeated_request_is_trained_through_closing_connections(between):
    """Nothing may be sent twice there, and no close of a connection ends the run."""
    between.closes = True
    config = ta.Config(server_orders=False)
    with ta.ServiceClient(base_url=between.url, config=config) as through:
        assert len(trained(through)) == 3
    for name in ("forward_backward", "optim_step"):
        assert len(between.of(name)) == 3
