"""Softmax of short and long rows."""

from __future__ import annotations

import numpy as np
import pytest

from tinker_actors.local.engine.attention import SHORT_ROW, softmax_in_place


@pytest.mark.parametrize("length", [1, 5, SHORT_ROW, SHORT_ROW + 1, 300])
def test_rows_of_any_length_become_probabilities_and_what_is_masked_nothing(length):
    scores = 50 * np.random.default_rng(0).standard_normal((3, 2, 7, length))
    scores[0, 0, 0, length // 2 + 1 :] = -np.inf
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    expected = weights / weights.sum(axis=-1, keepdims=True)
    found = softmax_in_place(scores)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert not found[0, 0, 0, length // 2 + 1 :].any()
    assert found is scores
