"""Wrong numbers on a real server: a step that would spoil the weights fails, and they are as they were."""

from __future__ import annotations

import itertools

import pytest

pytestmark = pytest.mark.slow

ODD = [1e300, 1e39, -1.0]
STEPS = [
    *({name: value} for name, value in itertools.product(
        ["learning_rate", "beta1", "beta2", "eps", "weight_decay", "grad_clip_norm"], ODD
    )),
    {"beta1": 1.0},
    {"learning_rate": 3e38, "beta1": 0.9999999999999999},
    {"learning_rate": 1.0, "weight_decay": 1e30},
]  # fmt: skip
CONFIGS = [
    *(("ppo", {name: value}) for name, value in itertools.product(
        ["clip_low_threshold", "clip_high_threshold"], [-1.0, "1.2", None, True, [1.0]]
    )),
    ("ppo", {"clip_low_threshold": 3.0}),
    ("cispo", {"clip_high_threshold": -1e300}),
    ("dro", {"beta": -0.1}),
    ("dro", {"beta": 1e300}),
    ("dro", {"beta": 2**62, "unknown": 1.0}),
    ("cross_entropy", {"beta": 0.1}),
]  # fmt: skip


@pytest.fixture
def trained(wire, bodies):
    """Return a model with momentum, and how its weights show."""
    model = wire.create_model(rank=2)
    wire.do("forward_backward", bodies.gradient(model, 1, b"abcdefgh"))
    assert "metrics" in wire.do("optim_step", bodies.step(model, 2, 0.05))
    return model, itertools.count(3)


def shown(wire, bodies, model, numbers):
    """Return the log-probabilities that a model's weights give."""
    body = bodies.gradient(model, next(numbers), b"abcdefgh")
    body["forward_input"] = body.pop("forward_backward_input")
    return wire.do("forward", body)["loss_fn_outputs"]


def failed(wire, path, body):
    """Return what was said of a request that is refused, or fails."""
    answer = wire.post(path, body)
    if answer.status_code == 200:
        said = wire.result(answer.json()["request_id"])
        assert said["type"] == "request_failed", said
        assert said["category"] == "user"
        return said["error"]
    assert 400 <= answer.status_code < 500
    return answer.json()["detail"]


def test_wrong_settings_of_a_step_leave_the_weights_as_they_were(wire, bodies, trained):
    model, numbers = trained
    before = shown(wire, bodies, model, numbers)
    for settings in STEPS:
        wire.do("forward_backward", bodies.gradient(model, next(numbers), b"abcdefgh"))
        params = {"learning_rate": 1e-3, **settings}
        said = failed(wire, "optim_step", {"model_id": model, "seq_id": next(numbers), "adam_params": params})
        assert any(name in said for name in settings), (settings, said)
        assert shown(wire, bodies, model, numbers) == before, settings
    # A step without a gradient of its own: had a failed one left its gradient, weights would go where that points.
    wire.do("optim_step", bodies.step(model, next(numbers), 0.0))
    assert shown(wire, bodies, model, numbers) == before
    wire.do("forward_backward", bodies.gradient(model, next(numbers), b"abcdefgh"))
    assert "metrics" in wire.do("optim_step", bodies.step(model, next(numbers), 0.05))
    assert shown(wire, bodies, model, numbers) != before


def test_wrong_settings_of_a_loss_are_refused_and_add_no_gradient(wire, bodies, trained):
    model, numbers = trained
    for loss, config in CONFIGS:
        body = bodies.gradient(model, next(numbers), b"abcdefgh")
        given = body["forward_backward_input"]
        given |= {"loss_fn": loss, "loss_fn_config": config}
        (one,) = given["data"]
        ones = {"data": [1.0] * 7, "dtype": "float32", "shape": [7]}
        if loss != "cross_entropy":
            one["loss_fn_inputs"] |= {"logprobs": ones, "advantages": ones}
        said = failed(wire, "forward_backward", body)
        assert any(name in said for name in (*config, "not finite", loss)), (config, said)
        wire.do("optim_step", bodies.step(model, next(numbers), 0.0))
    assert wire.do("optim_step", bodies.step(model, next(numbers), 0.0))["metrics"]["grad_norm:mean"] == 0
