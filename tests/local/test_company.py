"""A seeded sample draws the same whatever company it has: requests that come, go, end and are cancelled around it."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tinker_actors.local.core.ports import Example, SampleTask
from tinker_actors.local.engine.tiny import TINY_NAME
from tinker_actors.local.numpy_engine import NumpyEngine
from tinker_actors.types.training import AdamParams, LoraConfig

pytestmark = pytest.mark.slow

WANTED = -1


def task(prompt, seed, **changes):
    given = {
        "prompt": np.asarray(prompt, np.int64), "num_samples": 1, "max_tokens": 40, "temperature": 1.0,
        "top_k": None, "top_p": 1.0, "seed": seed, "stop": (), "prompt_logprobs": True, "topk_prompt_logprobs": 0,
    }  # fmt: skip
    return SampleTask(**{**given, **changes})


@pytest.fixture(scope="module")
def engine():
    return NumpyEngine()


@pytest.fixture(scope="module", params=["base", "trained"])
def weights(request, engine):
    if request.param == "base":
        return engine.weights(TINY_NAME, None, None)
    model = engine.create(TINY_NAME, LoraConfig(rank=8, seed=1))
    ids = np.frombuffer(b"the quick brown fox jumps over the lazy dog", np.uint8).astype(np.int64)
    for _ in range(30):
        model.forward_backward([Example(ids[:-1], ids[1:], {})], "cross_entropy", {})
        model.optim_step(AdamParams(learning_rate=0.01))
    return model.snapshot()


def alone(engine, weights, wanted):
    decoding = engine.decoding(weights)
    decoding.admit([(WANTED, wanted)])
    while True:
        for _, output in decoding.step():
            return output


def in_company(engine, weights, wanted, seed):
    """Draw the wanted task while others come and go at random."""
    rng = random.Random(seed)
    decoding = engine.decoding(weights)
    others = set()
    start = rng.randrange(10)
    for step in range(1000):
        joining = [(WANTED, wanted)] if step == start else []
        for _ in range(rng.choice([0, 0, 1, 6])):
            prompt = [rng.randrange(256) for _ in range(rng.choice([1, 5, 40, 300]))]
            key = step * 100 + len(joining)
            others.add(key)
            joining.append((key, task(prompt, key, num_samples=rng.choice([1, 3]), max_tokens=rng.randrange(1, 60))))
        rng.shuffle(joining)
        assert decoding.admit(joining) == []
        if others and rng.random() < 0.2:
            gone = rng.choice(sorted(others))
            others.discard(gone)
            decoding.drop([gone])
        for key, output in decoding.step():
            if key == WANTED:
                return output
            others.discard(key)
    raise AssertionError("it never ended")


@pytest.mark.parametrize("seed", range(4))
def test_tokens_repeat_and_logprobs_agree_in_any_company(engine, weights, seed):
    wanted = task([seed + 65] * (1 + 7 * seed), seed, num_samples=1 + seed % 3, temperature=0.9 + seed / 10)
    expected, found = alone(engine, weights, wanted), in_company(engine, weights, wanted, seed)
    for one, other in zip(expected.completions, found.completions, strict=True):
        assert one.tokens == other.tokens
        np.testing.assert_allclose(one.logprobs, other.logprobs, rtol=0, atol=1e-6)
    np.testing.assert_allclose(expected.prompt_logprobs[1:], found.prompt_logprobs[1:], rtol=0, atol=1e-6)
