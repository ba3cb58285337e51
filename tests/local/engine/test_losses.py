"""The table of losses: values by hand, slopes by differences."""

from __future__ import annotations

import numpy as np
import pytest

from tinker_actors.local.engine.losses import LOSSES, complete_config, complete_inputs, evaluate

LP = np.log([0.5, 0.3, 0.9, 0.2])
POLICY = {"logprobs": np.log([0.5, 0.6, 0.5, 0.5]), "advantages": np.array([1.0, -2.0, 3.0, 4.0])}  # r 1, .5, 1.8, .4


def value(name, inputs, config=None):
    loss, _ = evaluate(
        name, LP, complete_inputs(name, inputs, (4,), "datum 0"), complete_config(name, config), "datum 0"
    )
    return loss


def test_cross_entropy_weighs_the_negative_logprob():
    weights = np.array([1.0, 0.0, 2.0, -1.0])
    np.testing.assert_allclose(value("cross_entropy", {"weights": weights}), -LP * weights)


def test_cross_entropy_without_weights_counts_every_token_once():
    np.testing.assert_allclose(value("cross_entropy", {}), -LP)


def test_importance_sampling_is_the_negative_weighted_advantage():
    np.testing.assert_allclose(value("importance_sampling", POLICY), [-1.0, 1.0, -5.4, -1.6])


def test_ppo_takes_the_smaller_of_free_and_clipped():
    np.testing.assert_allclose(value("ppo", POLICY), [-1.0, 1.6, -3.6, -1.6])


def test_ppo_bounds_can_be_set():
    config = {"clip_low_threshold": 0.4, "clip_high_threshold": 1.5}
    np.testing.assert_allclose(value("ppo", POLICY, config), [-1.0, 1.0, -4.5, -1.6])


def test_cispo_weighs_the_logprob_by_the_clipped_ratio():
    np.testing.assert_allclose(value("cispo", POLICY), -np.array([1.0, 0.5, 1.8, 0.4]) * LP * POLICY["advantages"])
    config = {"clip_low_threshold": 0.6, "clip_high_threshold": 1.2}
    clipped = np.array([1.0, 0.6, 1.2, 0.6])
    np.testing.assert_allclose(value("cispo", POLICY, config), -clipped * LP * POLICY["advantages"])


def test_cispo_by_default_clips_at_zero_and_four():
    far = {"logprobs": LP - 3, "advantages": np.ones(4)}
    np.testing.assert_allclose(value("cispo", far), -4 * LP)


def test_cispo_has_the_clipped_ratio_as_its_slope_as_if_it_were_a_constant():
    complete = complete_inputs("cispo", POLICY, (4,), "x")
    _, slopes = evaluate("cispo", LP, complete, complete_config("cispo", {"clip_high_threshold": 1.5}), "x")
    np.testing.assert_allclose(slopes, [-1.0, 1.0, -4.5, -1.6])


def test_dro_is_the_weighted_logprob_less_a_squared_distance():
    distance = np.log([1.0, 0.5, 1.8, 0.4])
    weighed = LP * POLICY["advantages"]
    np.testing.assert_allclose(value("dro", POLICY), -(weighed - 0.05 * distance**2))
    np.testing.assert_allclose(value("dro", POLICY, {"beta": 2.0}), -(weighed - distance**2))


def test_a_position_may_have_several_targets_only_where_the_formula_does():
    wide = np.ones((4, 3))
    assert complete_inputs("cross_entropy", {}, (4, 3), "x")["weights"].shape == (4, 3)
    for name in set(LOSSES) - {"cross_entropy"}:
        with pytest.raises(ValueError, match=r"one target per position, not targets of shape \(4, 3\)"):
            complete_inputs(name, {"logprobs": wide, "advantages": wide}, (4, 3), "datum 0")


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"cispo"}))
def test_slopes_are_the_derivatives(name):
    rng = np.random.default_rng(0)
    lp = -rng.uniform(0.1, 3.0, 50)
    row = LOSSES[name]
    inputs = {key: rng.standard_normal(50) for key in (*row.required, *row.optional)}
    if "logprobs" in inputs:
        inputs["logprobs"] = lp + rng.normal(0, 0.4, 50)
    config, step = complete_config(name, None), 1e-6
    _, slopes = evaluate(name, lp, inputs, config, "datum 0")
    up, down = (evaluate(name, lp + sign * step, inputs, config, "datum 0")[0] for sign in (1, -1))
    np.testing.assert_allclose(slopes, (up - down) / (2 * step), rtol=1e-6, atol=1e-8)
