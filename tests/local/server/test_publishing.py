"""A policy that is published for ever, on a server that has room for a few versions only."""

from __future__ import annotations

import pytest

import tinker_actors as ta
from tinker_actors.local.process import LocalServer

pytestmark = pytest.mark.slow

HANG = 60
TOKENS = list(b"hello world")
PARAMS = ta.SamplingParams(max_tokens=2)


def test_a_policy_goes_on_and_a_version_pinned_long_ago_is_said_to_be_gone():
    prompt = ta.ModelInput.from_ints(TOKENS)
    example = ta.Datum(ta.ModelInput.from_ints(TOKENS[:-1]), {"target_tokens": TOKENS[1:]})
    with (
        LocalServer(limits={"sampler_bytes": 2_000_000}) as server,
        ta.ServiceClient(base_url=server.url) as service,
    ):
        trainer = service.create_lora_training_client("local/tiny", rank=32, seed=0)
        policy = trainer.policy("newest")
        policy.publish().result(HANG)
        first = policy.pin()
        assert first.sample(prompt, 1, PARAMS).result(HANG).sequences
        for _ in range(20):
            trainer.forward_backward([example], "cross_entropy")
            trainer.optim_step(ta.AdamParams(learning_rate=1e-3))
            policy.publish().result(HANG)
            newest = policy.pin()
            assert policy.sample(prompt, 1, PARAMS).result(HANG).sequences
            assert newest.sample(prompt, 1, PARAMS).result(HANG).sequences
        with pytest.raises(ta.APIStatusError, match="given up for newer ones") as caught:
            first.sample(prompt, 1, PARAMS).result(HANG)
        assert caught.value.status_code == 410
        assert policy.sample(prompt, 1, PARAMS).result(HANG).sequences
