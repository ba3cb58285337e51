"""The forward pass against a second one, written token by token from the model's definition."""

from __future__ import annotations

import numpy as np
import pytest

from tinker_actors.local.engine.data import Datum
from tinker_actors.local.engine.lora import LORA_ALPHA


def norm(x, weight, eps):
    return x / np.sqrt(np.mean(x * x) + eps) * weight


def rope(x, position, theta):
    half = len(x) // 2
    angles = position * theta ** (-np.arange(half) * 2.0 / len(x))
    cos, sin = np.tile(np.cos(angles), 2), np.tile(np.sin(angles), 2)
    return x * cos + np.concatenate([-x[half:], x[:half]]) * sin


class Reference:
    """One token after another, one head after another, with names and layout of `transformers`."""

    def __init__(self, config, weights, adapter, rank):
        self.config, self.weights, self.adapter, self.scale = config, weights, adapter, LORA_ALPHA / rank

    def project(self, name, x):
        tied = name == "lm_head" and self.config.tie_embeddings
        y = self.weights["model.embed_tokens.weight" if tied else f"{name}.weight"] @ x
        if f"{name}.bias" in self.weights:
            y = y + self.weights[f"{name}.bias"]
        a, b = (self.adapter[f"base_model.model.{name}.lora_{letter}.weight"] for letter in "AB")
        return y + self.scale * b @ (a @ x)

    def layer(self, index, xs):
        c, prefix = self.config, f"model.layers.{index}."
        normed = [norm(x, self.weights[prefix + "input_layernorm.weight"], c.rms_eps) for x in xs]
        heads = {}
        for kind, count in (("q", c.n_heads), ("k", c.n_kv_heads), ("v", c.n_kv_heads)):
            for position, x in enumerate(normed):
                parts = np.split(self.project(f"{prefix}self_attn.{kind}_proj", x), count)
                if c.qk_norm and kind != "v":
                    weight = self.weights[f"{prefix}self_attn.{kind}_norm.weight"]
                    parts = [norm(part, weight, c.rms_eps) for part in parts]
                if kind != "v":
                    parts = [rope(part, position, c.rope_theta) for part in parts]
                heads[kind, position] = parts
        out = []
        for position, x in enumerate(xs):
            mixed = []
            for h in range(c.n_heads):
                shared = h // (c.n_heads // c.n_kv_heads)
                scores = [
                    heads["q", position][h] @ heads["k", past][shared] / np.sqrt(c.head_dim)
                    for past in range(position + 1)
                ]
                p = np.exp(scores) / np.exp(scores).sum()
                mixed.append(sum(p[past] * heads["v", past][shared] for past in range(position + 1)))
            middle = x + self.project(f"{prefix}self_attn.o_proj", np.concatenate(mixed))
            y = norm(middle, self.weights[prefix + "post_attention_layernorm.weight"], c.rms_eps)
            gate = self.project(f"{prefix}mlp.gate_proj", y)
            inner = gate / (1 + np.exp(-gate)) * self.project(f"{prefix}mlp.up_proj", y)
            out.append(middle + self.project(f"{prefix}mlp.down_proj", inner))
        return out

    def logprobs(self, tokens, targets):
        xs = [self.weights["model.embed_tokens.weight"][token] for token in tokens]
        for index in range(self.config.n_layers):
            xs = self.layer(index, xs)
        found = []
        for x, target in zip(xs, targets, strict=True):
            logits = self.project("lm_head", norm(x, self.weights["model.norm.weight"], self.config.rms_eps))
            found.append(logits[target] - np.log(np.exp(logits).sum()))
        return np.array(found)


@pytest.mark.parametrize(
    "flags",
    [{}, {"qk_norm": True, "n_kv_heads": 1}, {"attention_bias": True, "tie_embeddings": True, "rope_theta": 50.0}],
)
@pytest.mark.parametrize("rank", [1, 4])
def test_logprobs_equal_a_token_by_token_computation(make_base, make_model, make_data, flags, rank):
    model = make_model(make_base(**flags), rank=rank)
    reference = Reference(model.base.config, model.base.weights, model.state().adapter, rank)
    data = make_data()
    for datum, logprobs in zip(data, model.forward(data, "cross_entropy").logprobs, strict=True):
        np.testing.assert_allclose(logprobs, reference.logprobs(datum.tokens, datum.targets), rtol=2e-6)


def test_a_token_does_not_see_what_follows_it(make_model, make_data):
    model = make_model()
    (datum,) = make_data(lengths=(8,))
    changed = datum.tokens.copy()
    changed[5:] = (changed[5:] + 1) % 17
    before, after = (
        model.forward([Datum(tokens, datum.targets, datum.loss_inputs)], "cross_entropy").logprobs[0]
        for tokens in (datum.tokens, changed)
    )
    np.testing.assert_array_equal(before[:5], after[:5])
    assert (before[5:] != after[5:]).all()
