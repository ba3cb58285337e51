"""The optimizer against one written from torch's documentation, parameter by parameter."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from tinker_actors.local.engine.adamw import AdamParams, AdamW


def reference(parameters, gradients, params):
    """AdamW and clipping by global norm in plain Python floats."""
    p, m, v = list(parameters), [0.0] * len(parameters), [0.0] * len(parameters)
    for t, gradient in enumerate(gradients, start=1):
        norm = math.sqrt(sum(g * g for g in gradient))
        scale = min(1.0, params.grad_clip_norm / (norm + 1e-6)) if params.grad_clip_norm > 0 else 1.0
        for i, g in enumerate(scale * gradient):
            p[i] -= params.learning_rate * params.weight_decay * p[i]
            m[i] = params.beta1 * m[i] + (1 - params.beta1) * g
            v[i] = params.beta2 * v[i] + (1 - params.beta2) * g * g
            m_hat, v_hat = m[i] / (1 - params.beta1**t), v[i] / (1 - params.beta2**t)
            p[i] -= params.learning_rate * m_hat / (math.sqrt(v_hat) + params.eps)
    return np.array(p)


@pytest.mark.parametrize("clip", [0.0, 2.0, 1e6])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_twenty_steps_equal_the_reference(clip, decay):
    params = AdamParams(learning_rate=3e-2, beta1=0.85, beta2=0.97, eps=1e-8, weight_decay=decay, grad_clip_norm=clip)
    rng = np.random.default_rng(0)
    start = rng.standard_normal(11)
    gradients = [rng.standard_normal(11) * rng.uniform(0.1, 3) for _ in range(20)]
    assert any(np.linalg.norm(gradient) > 2 for gradient in gradients)
    parameters, optimizer = start.copy(), AdamW(start)
    norms = [optimizer.update(parameters, gradient, params) for gradient in gradients]
    np.testing.assert_allclose(parameters, reference(start, gradients, params), rtol=1e-12)
    np.testing.assert_allclose(norms, [np.linalg.norm(gradient) for gradient in gradients])


def test_a_parameter_that_never_had_a_gradient_stays_even_with_eps_zero():
    parameters = np.ones(2, np.float32)
    AdamW(parameters).update(parameters, np.array([0.0, 1.0], np.float32), AdamParams(learning_rate=0.5, eps=0.0))
    np.testing.assert_allclose(parameters, [1.0, 0.5])


def test_without_a_gradient_momentum_still_moves():
    parameters, params = np.zeros(1), AdamParams(learning_rate=0.1)
    optimizer = AdamW(parameters)
    optimizer.update(parameters, np.ones(1), params)
    before = parameters.copy()
    assert optimizer.update(parameters, np.zeros(1), params) == 0.0
    assert parameters[0] < before[0]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *itertools.product(AdamParams.__struct_fields__, [math.nan, math.inf, -math.inf, -0.1, 1e39, 1e300]),
        *itertools.product(["beta1", "beta2"], [1.0, 1.5]),
        ("weight_decay", 1e30),
    ],
)
def test_settings_outside_their_range_are_refused(setting, value):
    with pytest.raises(ValueError, match=setting):
        AdamParams(**{setting: value})


@pytest.mark.parametrize(
    ("settings", "gradient"),
    [
        ({"learning_rate": 3e38}, 1.0),
        ({"learning_rate": 1e38, "beta1": 0.9999999999999999}, 1.0),
        ({"learning_rate": 1e38, "eps": 0.0, "beta2": 0.0}, 1e-30),
        ({}, 1e20),  # whose square is too large for float32
        ({"beta2": 0.0}, 3e38),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_step_that_would_leave_what_is_not_finite_changes_nothing(settings, gradient):
    parameters = np.full(2, 3e38, np.float32) * np.array([1, -1], np.float32)
    optimizer = AdamW(parameters)
    optimizer.update(parameters, np.ones(2, np.float32), AdamParams(learning_rate=1.0))
    before = [parameters.copy(), optimizer.exp_avg.copy(), optimizer.exp_avg_sq.copy(), optimizer.step]
    with pytest.raises(ValueError, match="has not been done"):
        optimizer.update(parameters, np.array([-gradient, gradient], np.float32), AdamParams(**settings))
    after = [parameters, optimizer.exp_avg, optimizer.exp_avg_sq, optimizer.step]
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_defaults_are_the_protocols():
    assert AdamParams() == AdamParams(
        learning_rate=1e-4, beta1=0.9, beta2=0.95, eps=1e-12, weight_decay=0.0, grad_clip_norm=0.0
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(bad):
    parameters = np.ones(2)
    optimizer = AdamW(parameters)
    with pytest.raises(ValueError, match="the gradient norm is"):
        optimizer.update(parameters, np.array([1.0, bad]), AdamParams())
    assert parameters.tolist() == [1.0, 1.0]
    assert (optimizer.step, optimizer.exp_avg.tolist(), optimizer.exp_avg_sq.tolist()) == (0, [0, 0], [0, 0])
