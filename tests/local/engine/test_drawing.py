"""Choosing tokens: greedy, temperature, top_k, top_p."""

from __future__ import annotations

import numpy as np
import pytest

from tinker_actors.local.engine.drawing import choose

P = np.array([0.1, 0.4, 0.2, 0.3])


def draw(probabilities, uniform, *, temperature=1.0, top_k=-1, top_p=1.0):
    """Choose once for each random number."""
    count = len(uniform)
    logprobs = np.tile(np.log(probabilities), (count, 1))
    full = [np.full(count, value) for value in (temperature, top_k, top_p)]
    return choose(logprobs, *full, np.asarray(uniform)).tolist()


def test_the_draw_inverts_the_cumulative_distribution():
    edges = [0.0, 0.0999, 0.1001, 0.4999, 0.5001, 0.6999, 0.7001, 0.9999]
    assert draw(P, edges) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_the_frequencies_are_the_probabilities():
    counts = np.bincount(draw(P, np.random.default_rng(0).random(40_000)))
    np.testing.assert_allclose(counts / 40_000, P, atol=0.01)


def test_temperature_sharpens():
    sharp = P**2 / (P**2).sum()
    counts = np.bincount(draw(P, np.random.default_rng(0).random(40_000), temperature=0.5))
    np.testing.assert_allclose(counts / 40_000, sharp, atol=0.01)


@pytest.mark.parametrize("temperature", [0.0, 1e-300, 1e-4])
def test_no_temperature_takes_the_best(temperature):
    assert draw(P, [0.0, 0.5, 0.999999], temperature=temperature) == [1, 1, 1]


def test_equals_are_decided_by_the_lower_id():
    assert draw(np.array([0.2, 0.4, 0.4]), [0.9], temperature=0.0) == [1]
    assert draw(np.array([0.2, 0.4, 0.4]), [0.9], top_k=1) == [1]


@pytest.mark.parametrize(
    ("top_k", "allowed"), [(1, {1}), (2, {1, 3}), (3, {1, 2, 3}), (9, {0, 1, 2, 3}), (0, {0, 1, 2, 3})]
)
def test_top_k_keeps_the_k_best(top_k, allowed):
    assert set(draw(P, np.linspace(0, 0.9999, 200), top_k=top_k)) == allowed


@pytest.mark.parametrize(
    ("top_p", "allowed"), [(1e-9, {1}), (0.39, {1}), (0.41, {1, 3}), (0.71, {1, 2, 3}), (1.0, {0, 1, 2, 3})]
)
def test_top_p_keeps_the_fewest_that_reach_it(top_p, allowed):
    assert set(draw(P, np.linspace(0, 0.9999, 200), top_p=top_p)) == allowed


def test_top_p_counts_what_top_k_has_left():
    # Of the two best, 0.4 and 0.3, the first alone has 4/7.
    assert set(draw(P, np.linspace(0, 0.9999, 200), top_k=2, top_p=0.5)) == {1}
    assert set(draw(P, np.linspace(0, 0.9999, 200), top_k=2, top_p=0.6)) == {1, 3}


def test_what_is_left_keeps_its_proportions():
    counts = np.bincount(draw(P, np.random.default_rng(0).random(40_000), top_k=2), minlength=4)
    np.testing.assert_allclose(counts / 40_000, [0, 4 / 7, 0, 3 / 7], atol=0.01)


def test_a_token_without_probability_is_never_drawn():
    with np.errstate(divide="ignore"):
        assert set(draw(np.array([0.0, 1.0, 0.0]), [0.0, 0.5, np.nextafter(1, 0)])) == {1}


def test_rows_are_chosen_by_their_own_settings():
    logprobs = np.tile(np.log(P), (4, 1))
    chosen = choose(
        logprobs,
        np.array([0.0, 1.0, 1.0, 1.0]),
        np.array([-1, -1, 2, -1]),
        np.array([1.0, 1.0, 1.0, 0.1]),
        np.full(4, 0.05),
    )
    assert chosen.tolist() == [1, 0, 1, 1]
