"""Training requests: padding, sums, repetition, state, bad input."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tinker_actors.local.engine.adamw import AdamParams
from tinker_actors.local.engine.data import Datum
from tinker_actors.local.engine.lora import LoraSpec
from tinker_actors.local.engine.model import LoraModel

STEP = AdamParams(learning_rate=1e-2, weight_decay=0.01, grad_clip_norm=1.0)


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def train(model, batches):
    for data in batches:
        model.forward_backward(data, "cross_entropy")
        model.optim_step(STEP)


def test_padding_does_not_reach_a_result(make_model, make_data):
    model = make_model()
    data = make_data(lengths=(3, 17, 1, 9))
    together = model.forward_backward(data, "cross_entropy")
    gradients = model.gradients()
    model.discard_gradients()
    apart = [model.forward_backward([datum], "cross_entropy") for datum in data]
    for i, output in enumerate(apart):
        np.testing.assert_allclose(together.logprobs[i], output.logprobs[0], rtol=1e-6)
    for name, gradient in model.gradients().items():
        np.testing.assert_allclose(gradients[name], gradient, rtol=1e-9, atol=1e-12)


def test_gradients_of_several_requests_add_up(make_base, make_model, make_data):
    base = make_base(np.float32)
    first, second = make_data(seed=1), make_data("importance_sampling", seed=2)
    total, one, other = make_model(base), make_model(base), make_model(base)
    total.forward_backward(first, "cross_entropy")
    total.forward_backward(second, "importance_sampling")
    one.forward_backward(first, "cross_entropy")
    other.forward_backward(second, "importance_sampling")
    expected = {name: gradient + other.gradients()[name] for name, gradient in one.gradients().items()}
    assert_same(total.gradients(), expected)


def test_a_request_cut_into_microbatches_gives_the_same_result(make_base, make_model, make_data):
    base, data = make_base(), make_data(lengths=(5, 1, 9, 3, 4))
    whole, cut = make_model(base), make_model(base, activation_bytes=1)
    one, other = whole.forward_backward(data, "cross_entropy"), cut.forward_backward(data, "cross_entropy")
    assert other.metrics == pytest.approx(one.metrics)
    np.testing.assert_allclose(np.concatenate(other.logprobs), np.concatenate(one.logprobs), rtol=1e-6)
    for name, gradient in whole.gradients().items():
        np.testing.assert_allclose(cut.gradients()[name], gradient, rtol=1e-9, atol=1e-12)


def test_the_same_calls_give_the_same_bits(make_base, make_data):
    base = make_base(np.float32)
    batches = [make_data(seed=seed) for seed in range(5)]
    models = [LoraModel(base, LoraSpec(rank=3, seed=5)) for _ in range(2)]
    for model in models:
        train(model, batches)
    assert_same(models[0].state().adapter, models[1].state().adapter)
    outputs = [model.forward(batches[0], "cross_entropy") for model in models]
    assert outputs[0].metrics == outputs[1].metrics


def test_models_on_one_base_train_in_threads_as_they_do_alone(make_base, make_data):
    base = make_base(np.float32)
    batches = [make_data(seed=seed) for seed in range(10)]
    models = [LoraModel(base, LoraSpec(rank=3, seed=seed)) for seed in (1, 2)]
    threads = [threading.Thread(target=train, args=(model, batches)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, model in zip((1, 2), models, strict=True):
        alone = LoraModel(base, LoraSpec(rank=3, seed=seed))
        train(alone, batches)
        assert_same(alone.state().adapter, model.state().adapter)


def test_metrics_count_and_sum(make_model, make_data):
    data = make_data(lengths=(5, 1, 9))
    output = make_model().forward(data, "cross_entropy")
    expected = -sum(
        float((lp * datum.loss_inputs["weights"]).sum()) for lp, datum in zip(output.logprobs, data, strict=True)
    )
    assert output.metrics == pytest.approx({"loss:sum": expected, "tokens:sum": 15.0, "datums:sum": 3.0})
    assert [len(lp) for lp in output.logprobs] == [5, 1, 9]
    assert {lp.dtype for lp in output.logprobs} == {np.dtype(np.float32)}


def test_several_targets_per_position_are_as_many_datums_with_one(make_model):
    rng = np.random.default_rng(0)
    tokens, targets, weights = rng.integers(0, 17, 6), rng.integers(0, 17, (6, 3)), rng.uniform(0, 1, (6, 3))
    model = make_model()
    wide = model.forward_backward([Datum(tokens, targets, {"weights": weights})], "cross_entropy")
    gradients = model.gradients()
    model.discard_gradients()
    columns = [Datum(tokens, targets[:, i], {"weights": weights[:, i]}) for i in range(3)]
    apart = model.forward_backward(columns, "cross_entropy")
    np.testing.assert_allclose(wide.logprobs[0], np.stack(apart.logprobs, axis=1), rtol=1e-6)
    assert wide.metrics["loss:sum"] == pytest.approx(apart.metrics["loss:sum"])
    assert wide.metrics["tokens:sum"] == 6
    for name, gradient in model.gradients().items():
        np.testing.assert_allclose(gradients[name], gradient, rtol=1e-9, atol=1e-12)


def test_forward_leaves_no_gradient_and_discarding_leaves_none(make_model, make_data):
    model = make_model()
    model.forward(make_data(), "cross_entropy")
    assert not any(gradient.any() for gradient in model.gradients().values())
    model.forward_backward(make_data(), "cross_entropy")
    assert any(gradient.any() for gradient in model.gradients().values())
    model.discard_gradients()
    assert not any(gradient.any() for gradient in model.gradients().values())


def test_a_step_reports_norm_and_rate_and_clears_the_gradient(make_model, make_data):
    model = make_model()
    model.forward_backward(make_data(), "cross_entropy")
    norm = np.sqrt(sum((gradient**2).sum() for gradient in model.gradients().values()))
    assert model.optim_step(STEP) == pytest.approx({"grad_norm:mean": norm, "learning_rate:mean": 1e-2})
    assert not any(gradient.any() for gradient in model.gradients().values())


def test_training_lowers_the_loss(make_base, make_data):
    model = LoraModel(make_base(np.float32), LoraSpec(rank=8, seed=0))
    data = make_data()
    before = model.forward(data, "cross_entropy").metrics["loss:sum"]
    for _ in range(60):
        model.forward_backward(data, "cross_entropy")
        model.optim_step(AdamParams(learning_rate=1e-2))
    assert model.forward(data, "cross_entropy").metrics["loss:sum"] < before / 3


def test_a_restored_model_goes_on_with_the_same_bits(make_base, make_data):
    base = make_base(np.float32)
    batches = [make_data(seed=seed) for seed in range(6)]
    straight = LoraModel(base, LoraSpec(rank=3, seed=5))
    train(straight, batches[:3])
    state = straight.state()
    train(straight, batches[3:])
    restored = LoraModel(base, LoraSpec(rank=3, seed=99))
    restored.forward_backward(batches[0], "cross_entropy")
    restored.load_state(state.adapter, state.optimizer)
    train(restored, batches[3:])
    assert_same(straight.state().adapter, restored.state().adapter)
    assert_same(straight.state().optimizer, restored.state().optimizer)


def test_a_state_restored_without_its_optimizer_starts_one_anew(make_model, make_data):
    model = make_model()
    train(model, [make_data()])
    state = model.state()
    model.load_state(state.adapter)
    optimizer = model.state().optimizer
    assert optimizer["step"].tolist() == [0]
    assert not any(array.any() for array in optimizer.values())
    assert_same(model.state().adapter, state.adapter)


@pytest.mark.parametrize("damage", ["missing", "unknown", "shape", "optimizer", "step"])
def test_a_damaged_state_is_refused_and_changes_nothing(make_model, make_data, damage):
    model = make_model()
    train(model, [make_data()])
    before = model.state()
    adapter, optimizer = dict(before.adapter), dict(before.optimizer)
    name = "base_model.model.lm_head.lora_A.weight"
    if damage == "missing":
        del adapter[name]
    elif damage == "unknown":
        adapter["extra"] = np.zeros(2)
    elif damage == "shape":
        adapter[name] = adapter[name].T
    elif damage == "optimizer":
        del optimizer[f"{name}.exp_avg_sq"]
    else:
        del optimizer["step"]
    culprit = {"unknown": "extra", "step": "step"}.get(damage, name)
    with pytest.raises(ValueError, match=culprit.replace(".", r"\.")):
        model.load_state(adapter, optimizer)
    assert_same(model.state().adapter, before.adapter)
    assert_same(model.state().optimizer, before.optimizer)


def good(n=4, **inputs):
    return Datum(np.arange(n), np.arange(n), inputs)


@pytest.mark.parametrize(
    ("data", "loss", "config", "message"),
    [
        ([], "cross_entropy", None, "data is empty"),
        (
            [good()],
            "mystery",
            None,
            "unknown loss 'mystery'; there are cispo, cross_entropy, dro, importance_sampling, ppo",
        ),
        ([good()], "ppo", {"clip": 1.0}, "no setting clip; allowed: clip_low_threshold, clip_high_threshold"),
        ([good()], "cross_entropy", {"x": 1.0}, "allowed: none"),
        ([good()], "ppo", {"clip_low_threshold": float("nan")}, "clip_low_threshold"),
        ([good()], "ppo", {"clip_low_threshold": 2.0}, r"2\.0 is above clip_high_threshold 1\.2"),
        ([good()], "ppo", None, "datum 0: loss 'ppo' needs the input logprobs, advantages"),
        ([good(), good(mask=np.ones(4))], "cross_entropy", None, "datum 1: .* no input mask; allowed: weights"),
        ([good(weights=np.ones(3))], "cross_entropy", None, r"'weights' has shape \(3,\) for targets of shape \(4,\)"),
        ([good(weights=np.array([1, 1, np.nan, 1]))], "cross_entropy", None, "'weights' is nan at position 2"),
        ([Datum(np.arange(4), np.arange(3))], "cross_entropy", None, "4 tokens but 3 targets"),
        ([Datum(np.array([3, 17]), np.arange(2))], "cross_entropy", None, "id 17, outside the vocabulary of 17"),
        ([Datum(np.arange(4), np.zeros((3, 2), int))], "cross_entropy", None, "4 tokens but 3 targets"),
        ([Datum(np.arange(2), np.zeros((2, 2, 2), int))], "cross_entropy", None, r"got shape \(2, 2, 2\)"),
        ([Datum(np.arange(2), np.array([-1, 3]))], "cross_entropy", None, "id -1, outside the vocabulary of 17"),
        ([Datum(np.ones(2), np.arange(2))], "cross_entropy", None, "must be integers, got float64"),
        ([Datum(np.zeros(0, int), np.zeros(0, int))], "cross_entropy", None, "at least one token id"),
        ([Datum(np.ones(33, int), np.ones(33, int))], "cross_entropy", None, "33 tokens, the model's context is 32"),
        (
            [good(), good(logprobs=np.full(4, -1e4), advantages=np.ones(4))],
            "importance_sampling",
            None,
            "datum 0: loss 'importance_sampling' needs",
        ),
    ],
)
def test_bad_input_names_what_is_wrong(make_model, data, loss, config, message):
    with pytest.raises(ValueError, match=message):
        make_model().forward_backward(data, loss, config)


def test_a_loss_that_overflows_is_refused_and_adds_nothing(make_base, make_model, make_data):
    fine = make_data("importance_sampling", lengths=(4, 4))
    burst = Datum(
        fine[0].tokens,
        fine[0].targets,
        {"logprobs": np.full(4, -1e4, np.float32), "advantages": np.ones(4, np.float32)},
    )
    model = make_model(activation_bytes=1)
    with pytest.raises(ValueError, match=r"datum 2: loss 'importance_sampling' is -inf at position 0"):
        model.forward_backward([*fine, burst], "importance_sampling")
    assert not any(gradient.any() for gradient in model.gradients().values())


def test_an_infinite_gradient_is_not_added_to_what_has_accumulated(make_base, make_model, make_data):
    model = make_model(make_base(np.float32))
    (datum,) = make_data("importance_sampling", lengths=(4,))
    model.forward_backward([datum], "importance_sampling")
    before = model.gradients()
    inputs = {"logprobs": np.full(4, -80, np.float32), "advantages": np.full(4, 1e30, np.float32)}
    with pytest.raises(ValueError, match="gradient of loss 'importance_sampling' is not finite"):
        model.forward_backward([Datum(datum.tokens, datum.targets, inputs)], "importance_sampling")
    assert_same(model.gradients(), before)
