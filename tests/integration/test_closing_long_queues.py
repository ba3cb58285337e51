"""Closing keeps its time however much is queued, and leaves nothing undecided."""

from __future__ import annotations

import socket
import time

import pytest

import tinker_actors as ta

pytestmark = pytest.mark.slow

TIMEOUT = 0.5
PROMPT, PARAMS = ta.ModelInput.from_ints([1]), ta.SamplingParams(max_tokens=100)
DATUM = ta.Datum(PROMPT, {"target_tokens": [1], "weights": [1.0]})


@pytest.fixture(scope="module")
def ledger():
    with ta.local_server(engine="ledger") as server:
        yield server.url


@pytest.fixture(params=["lives", "is silent", "refuses connections"])
def url(request):
    if request.param == "lives":
        yield request.getfixturevalue("ledger")
        return
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        if request.param == "is silent":
            listening.listen()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def many_policies(trainer, _):
    return [trainer.policy(f"p{number}").publish() for number in range(2000)]


def one_policy(trainer, _):
    policy = trainer.policy("main")
    return [policy.publish() for _ in range(5000)]


def samples_of_a_policy(trainer, _):
    policy = trainer.policy("main")
    return [policy.publish(), *(policy.sample(PROMPT, 1, PARAMS) for _ in range(5000))]


QUEUES = {
    "publish": one_policy,
    "publish of many policies": many_policies,
    "samples": lambda _, sampler: [sampler.sample(PROMPT, 1, PARAMS) for _ in range(5000)],
    "samples of a policy": samples_of_a_policy,
    "optim_step": lambda trainer, _: [trainer.optim_step() for _ in range(5000)],
    "save_state": lambda trainer, _: [trainer.save_state(f"s{number}") for number in range(5000)],
    "forward_backward": lambda trainer, _: [trainer.forward_backward([DATUM], "cross_entropy") for _ in range(2000)],
}


@pytest.mark.parametrize("queue", QUEUES)
def test_closing_keeps_its_time_behind_a_long_queue(url, queue):
    service = ta.ServiceClient(base_url=url, config=ta.Config(api_key="tml-x", tags=(queue,)))
    trainer = service.create_lora_training_client("local/ledger", rank=4)
    futures = QUEUES[queue](trainer, service.create_sampling_client(base_model="local/ledger"))
    began = time.monotonic()
    service.close(timeout=TIMEOUT)
    took = time.monotonic() - began
    assert service._service.over.done()
    assert sum(not future.done() for future in futures) == 0
    assert took < 10 * (TIMEOUT + 2.0), "a guard: two seconds beyond the time for it is what it may take"
    for future in futures:
        future._looked_at = True
