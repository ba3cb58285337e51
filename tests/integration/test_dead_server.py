"""A server that was killed shows as that wherever one can look: in progress and in the tree."""

from __future__ import annotations

import tinker_actors as ta

from .conftest import HANG
from .helpers import datum, eventually, prompt


def test_a_killed_server_shows_everywhere():
    with ta.local_server() as server:
        service = ta.ServiceClient(base_url=server.url)
        trainer = service.create_lora_training_client("local/tiny", rank=4).result(HANG)
        sampler = service.create_sampling_client(base_model="local/tiny").result(HANG)
        long = ta.SamplingParams(max_tokens=1900, stop=[])
        futures = {
            "sample at the server": sampler.sample(prompt("x"), 16, long),
            "gradient": trainer.forward_backward([datum("a long one " * 40)] * 100, "cross_entropy"),
            "step behind it": trainer.optim_step(),
        }
        eventually(lambda: futures["sample at the server"].request_id is not None)
        server.kill()
        futures |= {
            "sample called after": sampler.sample(prompt("x"), 1, long),
            "sample that nobody publishes for": trainer.policy("main").sample(prompt("x"), 1, long),
            "both": trainer.step([datum()], "cross_entropy"),
            "question": service._get_server_capabilities_future(),
        }
        late = service.create_sampling_client(base_model="local/tiny")
        futures |= {"sampler": late._ready, "sample of it": late.sample(prompt("x"), 1, long)}
        for what, future in futures.items():
            eventually(lambda future=future: "got no answer" in future.progress().detail)
            assert not future.done(), what
            assert future.progress().reason != "queued at the server", what
        assert futures["sample that nobody publishes for"].progress().reason == "waiting for publish()"
        assert "the server does not answer" in str(service.tree())
        service.close(timeout=0)


def test_a_server_that_answers_shows_nothing(service, trainer):
    trainer.step([datum()], "cross_entropy").result(HANG)
    assert "does not answer" not in str(service.tree())
    assert "unanswered" not in str(service.tree())
