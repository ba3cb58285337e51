"""Exactness: every LoRA gradient against central differences in float64."""

from __future__ import annotations

import numpy as np
import pytest

from tinker_actors.local.engine.data import Datum
from tinker_actors.local.engine.lora import LORA_ALPHA
from tinker_actors.local.engine.transformer import projections

pytestmark = pytest.mark.slow

ARCHITECTURES = {
    "llama": {},
    "one kv head": {"n_kv_heads": 1},
    "no grouping": {"n_kv_heads": 4},
    "qwen2": {"attention_bias": True, "tie_embeddings": True},
    "qwen3": {"qk_norm": True},
    "everything": {"qk_norm": True, "attention_bias": True, "tie_embeddings": True, "n_kv_heads": 1},
}
SWITCHES = {
    "attention": {"train_mlp": False, "train_unembed": False},
    "mlp": {"train_attn": False, "train_unembed": False},
    "unembed": {"train_attn": False, "train_mlp": False},
    "no unembed": {"train_unembed": False},
}
LOSSES = ("cross_entropy", "importance_sampling", "ppo", "dro")  # not cispo, whose slope is not its derivative


def check_gradients(model, data, loss):
    """Compare each matrix's gradient along a random direction and along one coordinate with central differences."""
    model.discard_gradients()
    model.forward_backward(data, loss)
    gradients = model.gradients()
    arrays = model.state().adapter
    rng = np.random.default_rng(7)
    step = 1e-5
    for name, array in arrays.items():
        single = np.zeros_like(array)
        single.flat[rng.integers(array.size)] = 1.0
        for direction in (rng.standard_normal(array.shape), single):
            sides = []
            for sign in (1, -1):
                model.load_state({**arrays, name: array + sign * step * direction})
                sides.append(model.forward(data, loss).metrics["loss:sum"])
            numeric = (sides[0] - sides[1]) / (2 * step)
            exact = float((gradients[name] * direction).sum())
            assert exact == pytest.approx(numeric, rel=1e-6, abs=1e-7), name
        assert np.abs(gradients[name]).max() > 1e-6, f"{name} has no gradient, so the comparison shows nothing"
    model.load_state(arrays)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("flags", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_gradients_are_exact_for_every_architecture_and_loss(make_base, make_model, make_data, flags, loss):
    check_gradients(make_model(make_base(**flags)), make_data(loss), loss)


@pytest.mark.parametrize("rank", [1, 4])
@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES)
def test_gradients_are_exact_whatever_is_trained(make_model, make_data, switches, rank):
    check_gradients(make_model(rank=rank, **switches), make_data(), "cross_entropy")


def test_gradients_are_exact_by_both_ways_of_applying_an_adapter(make_base, make_model, make_data):
    ways = set()
    for rank in (1, 4):
        model = make_model(make_base(), rank=rank)
        ways |= {linear.merged for linear in projections(model.base, model.snapshot().groups).values()}
        check_gradients(model, make_data(), "cross_entropy")
    assert ways == {True, False}


def test_gradients_are_exact_with_several_targets_per_position(make_model):
    rng = np.random.default_rng(4)
    data = []
    for length, count in ((5, 3), (1, 1), (9, 2)):
        shape = (length, count)
        weights = rng.uniform(-0.2, 1.5, shape).astype(np.float32)
        data.append(Datum(rng.integers(0, 17, length), rng.integers(0, 17, shape), {"weights": weights}))
    repeated = np.full((4, 2), 6)
    data.append(Datum(rng.integers(0, 17, 4), repeated, {"weights": np.ones((4, 2), np.float32)}))
    model = make_model()
    check_gradients(model, data, "cross_entropy")
    assert [lp.shape for lp in model.forward(data, "cross_entropy").logprobs] == [(5, 3), (1, 1), (9, 2), (4, 2)]


def test_cispo_has_the_gradient_of_cross_entropy_with_the_clipped_ratios_as_weights(make_model, make_data):
    model, data = make_model(), make_data("cispo")
    config = {"clip_low_threshold": 0.7, "clip_high_threshold": 1.3}
    output = model.forward_backward(data, "cispo", config)
    found = model.gradients()
    model.discard_gradients()
    same, clipped = [], 0
    for datum, lp in zip(data, output.logprobs, strict=True):
        ratio = np.exp(lp - datum.loss_inputs["logprobs"])
        clipped += ((ratio < 0.7) | (ratio > 1.3)).sum()
        weights = np.clip(ratio, 0.7, 1.3) * datum.loss_inputs["advantages"]
        same.append(Datum(datum.tokens, datum.targets, {"weights": weights}))
    assert 0 < clipped < 18
    model.forward_backward(same, "cross_entropy")
    for name, gradient in model.gradients().items():
        np.testing.assert_allclose(found[name], gradient, rtol=1e-5, atol=1e-6, err_msg=name)


def test_ppo_data_has_tokens_on_both_sides_of_the_clip(make_model, make_data):
    """The gradient check of ppo covers flat and sloped tokens."""
    data = make_data("ppo")
    output = make_model().forward(data, "ppo")
    flat = sloped = 0
    for datum, lp in zip(data, output.logprobs, strict=True):
        ratio = np.exp(lp - datum.loss_inputs["logprobs"])
        advantages = datum.loss_inputs["advantages"]
        is_flat = np.where(advantages > 0, ratio > 1.2, ratio < 0.8)
        flat += is_flat.sum()
        sloped += (~is_flat).sum()
    assert flat > 2
    assert sloped > 2


def test_the_adapter_acts_as_base_plus_scaled_product(make_base, make_model):
    model = make_model(rank=4)
    arrays = model.state().adapter
    name = "model.layers.1.self_attn.k_proj"
    a, b = (arrays[f"base_model.model.{name}.lora_{letter}.weight"] for letter in "AB")
    linear = projections(model.base, model.snapshot().groups)[1, "qkv"]
    config = model.base.config
    rows = slice(config.q_size, config.q_size + config.kv_size)
    expected = model.base.weights[f"{name}.weight"] + LORA_ALPHA / 4 * b @ a
    np.testing.assert_allclose(linear.weight[rows], expected, rtol=1e-12)
