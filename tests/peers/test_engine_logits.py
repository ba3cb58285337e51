"""Loaded folders give the logits of `transformers`."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tinker_actors.local.engine.folder import load_base
from tinker_actors.local.engine.sampler import sample
from tinker_actors.local.engine.sampling import SampleRequest

pytestmark = pytest.mark.filterwarnings("ignore")

KINDS = ("llama", "qwen2", "qwen3")
LENGTHS = (1, 2, 3, 8, 33, 100, 199, 200)


def agree(reference, model, engine_logits, base, *, tolerance=1e-4):
    rng = np.random.default_rng(5)
    sequences = [rng.integers(0, base.config.vocab_size, length) for length in LENGTHS]
    together = engine_logits(base, sequences)
    for tokens, among in zip(sequences, together, strict=True):
        expected = reference.logits(model, tokens).detach().numpy()
        assert np.abs(expected).max() > 1
        (alone,) = engine_logits(base, [tokens])
        np.testing.assert_allclose(alone, expected, rtol=0, atol=tolerance)
        np.testing.assert_allclose(among, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_logits_agree(reference, saved, engine_logits, kind, tied):
    model, base = saved(kind, tied=tied)
    assert base.config.arch == kind
    assert base.config.eos_token_ids == (1,)
    agree(reference, model, engine_logits, base)


@pytest.mark.parametrize("kv_heads", [1, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_logits_agree_without_grouping_and_with_one_kv_head(reference, saved, engine_logits, kind, kv_heads):
    model, base = saved(kind, tied=False, num_key_value_heads=kv_heads)
    agree(reference, model, engine_logits, base)


@pytest.mark.parametrize("head_dim", [4, 16])
def test_logits_agree_when_heads_are_not_a_share_of_the_width(reference, saved, engine_logits, head_dim):
    model, base = saved("llama", tied=False, head_dim=head_dim)
    assert base.config.head_dim == head_dim
    agree(reference, model, engine_logits, base)


def test_logits_agree_with_another_rotary_base_however_it_is_written(reference, saved, engine_logits, tmp_path):
    rope = {"rope_type": "default", "rope_theta": 1_000_000.0}
    model, base = saved("llama", tied=False, rope_parameters=rope)
    assert base.config.rope_theta == 1_000_000.0
    agree(reference, model, engine_logits, base)
    file = tmp_path / "llama-False" / "config.json"
    given = json.loads(file.read_text())
    assert given.pop("rope_parameters")["rope_theta"] == 1_000_000.0
    file.write_text(json.dumps({**given, "rope_theta": 1_000_000.0, "rope_scaling": None}))
    agree(reference, model, engine_logits, load_base(file.parent, "older"))


def test_a_model_in_several_files_is_put_together(reference, saved, engine_logits, tmp_path):
    model, base = saved("qwen2", tied=False, shard="20KB")
    assert len(list((tmp_path / "qwen2-False").glob("model-*.safetensors"))) > 2
    agree(reference, model, engine_logits, base)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_other_types_are_read_exactly(reference, engine_logits, tmp_path, dtype):
    import torch

    narrow = reference.make_model("llama", tied=False).to(getattr(torch, dtype))
    narrow.save_pretrained(tmp_path)
    model = type(narrow).from_pretrained(tmp_path, dtype=torch.float32)
    base = load_base(tmp_path, "narrow")
    parameters = dict(model.named_parameters())
    assert parameters.keys() == base.weights.keys()
    for name, parameter in parameters.items():
        np.testing.assert_array_equal(base.weights[name], parameter.detach().numpy(), err_msg=name)
    agree(reference, model, engine_logits, base)


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_completions_are_those_of_generate(reference, saved, kind):
    model, base = saved(kind, tied=True)
    rng = np.random.default_rng(8)
    prompts = [rng.integers(2, base.config.vocab_size, length) for length in (1, 5, 40)]
    requests = [SampleRequest(prompt=prompt, max_tokens=30, temperature=0.0) for prompt in prompts]
    for prompt, result in zip(prompts, sample(base, None, requests), strict=True):
        assert result.sequences[0].tokens.tolist() == reference.greedy(model, prompt, 30)
