"""Log-probabilities of targets, whole and in pieces."""

from __future__ import annotations

import numpy as np
import pytest

from tinker_actors.local.engine.lora import HEAD, Layout
from tinker_actors.local.engine.transformer import projections
from tinker_actors.local.engine.unembed import TargetLogprobs, log_softmax, pieces


@pytest.mark.parametrize("rank", [1, 4])
def test_pieces_give_what_the_whole_gives(make_model, rank):
    model = make_model(rank=rank)
    head = projections(model.base, model.snapshot().groups)[HEAD, "unembed"]
    rng = np.random.default_rng(0)
    h, targets, slopes = rng.standard_normal((10, 12)), rng.integers(0, 17, 14), rng.standard_normal(14)
    targets[3] = targets[2]
    owners = np.array([0, 1, 1, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 9])
    layout = Layout(model.base.config, model.spec)
    found = []
    for limit in (17 * 100, 17 * 3, 1):
        flat = np.zeros(layout.size)
        target = TargetLogprobs(head, h, targets, owners, limit)
        found.append((target.values.copy(), target.backward(slopes, layout.groups(flat)[HEAD, "unembed"]), flat))
    for other in found[1:]:
        for one, same in zip(found[0], other, strict=True):
            assert np.abs(one).max() > 0
            np.testing.assert_allclose(one, same, rtol=1e-10, atol=1e-13)


def test_pieces_cover_all_rows_once():
    assert list(pieces(7, 10, 35)) == [slice(0, 3), slice(3, 6), slice(6, 7)]
    assert list(pieces(2, 10, 1)) == [slice(0, 1), slice(1, 2)]


def test_log_softmax_survives_large_logits():
    logprobs = log_softmax(np.array([[1e4, 1e4, -1e4]]))
    np.testing.assert_allclose(logprobs, [[-np.log(2), -np.log(2), -2e4 - np.log(2)]])
