"""LoRA gradients and AdamW steps are PyTorch's; a saved adapter does in `peft` what it does here."""

from __future__ import annotations

import numpy as np
import pytest

from tinker_actors.local.engine.adamw import AdamParams, AdamW
from tinker_actors.local.engine.peft import peft_config

pytestmark = pytest.mark.filterwarnings("ignore")

KINDS = ("llama", "qwen2", "qwen3")
CASES = (
    "cross_entropy",
    "cross_entropy_many",
    "importance_sampling",
    "ppo",
    "cispo",
    "cispo_narrow",
    "dro",
)
SWITCHES = {
    "everything": {},
    "attention": {"train_mlp": False, "train_unembed": False},
    "mlp": {"train_attn": False, "train_unembed": False},
    "unembed": {"train_attn": False, "train_mlp": False},
}


@pytest.fixture
def pair(reference, saved, random_adapter, tmp_path):
    """The engine's model and PyTorch's in float64, with the same adapter, which has gone through `peft`'s folder."""

    def make(kind, *, tied, dtype=np.float32, **adapter):
        torch_model, base = saved(kind, tied=tied, dtype=dtype)
        model = random_adapter(base, **adapter)
        config = peft_config(model.spec, base)
        arrays = model.state().adapter
        narrow = {name: array.astype(np.float32) for name, array in arrays.items()}
        peer = reference.with_adapter(torch_model, tmp_path / "adapter", config, narrow).double()
        assert reference.trainable(peer).keys() == arrays.keys()
        model.load_state(narrow)
        return model, peer

    return make


def assert_close(found, expected, tolerance):
    """Every matrix, relative to its own largest number."""
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        scale = np.abs(array).max()
        assert scale > 1e-5, f"{name} is zero, so the comparison shows nothing"
        np.testing.assert_allclose(found[name] / scale, array / scale, rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("kind", "tied"), [("llama", False), ("qwen2", True), ("qwen3", False)])
def test_every_gradient_agrees_for_every_loss(reference, pair, as_datums, kind, tied, case):
    model, peer = pair(kind, tied=tied)
    data = reference.make_data(peer, case)
    output = model.forward_backward(as_datums(data), *reference.CASES[case])
    loss, logprobs = reference.backward(peer, case, data)
    assert output.metrics["loss:sum"] == pytest.approx(loss, rel=1e-4)
    for found, expected in zip(output.logprobs, logprobs, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    assert_close(model.gradients(), reference.gradients(peer), 1e-4)


@pytest.mark.parametrize("rank", [1, 4, 40])
@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES)
def test_every_gradient_agrees_whatever_is_trained(reference, pair, as_datums, switches, rank):
    model, peer = pair("llama", tied=True, rank=rank, **switches)
    data = reference.make_data(peer, "cross_entropy")
    model.forward_backward(as_datums(data), "cross_entropy")
    reference.backward(peer, "cross_entropy", data)
    assert_close(model.gradients(), reference.gradients(peer), 1e-4)


def test_twenty_steps_of_training_agree(reference, pair, as_datums):
    """In float64 on both sides: Adam turns a rounding difference in a gradient near zero into a full step."""
    model, peer = pair("llama", tied=False, dtype=np.float64)
    start = model.state().adapter
    batches = [reference.make_data(peer, "cross_entropy", seed=seed) for seed in range(20)]
    norms = []
    for data in batches:
        model.forward_backward(as_datums(data), "cross_entropy")
        norms.append(model.optim_step(AdamParams(**reference.ADAM))["grad_norm:mean"])
    expected = reference.train(peer, batches)
    np.testing.assert_allclose(norms, expected, rtol=1e-5)
    limit = reference.ADAM["grad_clip_norm"]
    assert min(expected) < limit < max(expected)
    for name, parameter in reference.trainable(peer).items():
        found = model.state().adapter[name]
        assert np.abs(found - start[name]).max() > 10 * reference.ADAM["learning_rate"]
        np.testing.assert_allclose(found, parameter.detach().numpy(), rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("clip", [0.0, 50.0])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("eps", [1e-12, 1e-8])
def test_twenty_steps_with_the_same_gradients_agree_in_float32(reference, clip, decay, eps):
    import torch

    settings = {**reference.ADAM, "weight_decay": decay, "grad_clip_norm": clip, "eps": eps}
    rng = np.random.default_rng(1)
    ours = rng.standard_normal(500).astype(np.float32)
    theirs = torch.nn.Parameter(torch.from_numpy(ours.copy()))
    optimizer, peer = AdamW(ours), reference.make_optimizer([theirs], settings)
    clipped = 0
    for _ in range(20):
        gradient = rng.uniform(0.1, 2) * 10.0 ** rng.uniform(-6, 1, 500) * rng.standard_normal(500)
        gradient = gradient.astype(np.float32)
        norm = optimizer.update(ours, gradient, AdamParams(**settings))
        theirs.grad = torch.from_numpy(gradient.copy())
        if clip:
            expected = torch.nn.utils.clip_grad_norm_([theirs], clip)
            assert norm == pytest.approx(float(expected), rel=1e-5)
            clipped += norm > clip
        peer.step()
    assert not clip or 0 < clipped < 20
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES)
@pytest.mark.parametrize(("kind", "tied"), [("llama", False), ("qwen2", True), ("qwen3", True)])
def test_a_saved_adapter_gives_the_same_logits_in_peft(
    reference, saved, random_adapter, engine_logits, as_datums, tmp_path, kind, tied, switches
):
    torch_model, base = saved(kind, tied=tied)
    tokens = np.random.default_rng(3).integers(0, 97, 60)
    without = reference.logits(torch_model, tokens).detach().numpy()
    model = random_adapter(base, rank=6, **switches)
    for seed in range(3):
        model.forward_backward(as_datums(reference.make_data(torch_model, "cross_entropy", seed=seed)), "cross_entropy")
        model.optim_step(AdamParams(learning_rate=1e-3))
    adapter = model.snapshot()
    peer = reference.with_adapter(torch_model, tmp_path / "adapter", peft_config(model.spec, base), adapter.arrays())
    assert peer.peft_config["default"].base_model_name_or_path == f"peer/{kind}"
    expected = reference.logits(peer, tokens).detach().numpy()
    assert np.abs(expected - without).max() > 0.1
    (found,) = engine_logits(base, [tokens], adapter.groups)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
