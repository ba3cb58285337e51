"""The ledger engine: equal weights mean equal operations in equal order."""

from __future__ import annotations

import numpy as np
import pytest

from tinker_actors.local.core.ports import Example
from tinker_actors.local.ledger import LEDGER_NAME, LedgerEngine
from tinker_actors.types.training import AdamParams, LoraConfig


def example(*tokens: int) -> Example:
    ids = np.array(tokens, np.int64)
    return Example(ids, ids, {"weights": np.ones(len(ids))})


def after(*operations: object) -> bytes:
    """Return the weights after operations: examples are gradients, parameters are steps."""
    model = LedgerEngine().create(LEDGER_NAME, LoraConfig(rank=2, seed=1))
    for operation in operations:
        if isinstance(operation, Example):
            model.forward_backward([operation], "cross_entropy", {})
        else:
            model.optim_step(operation)
    return model.weights


A, B = example(1, 2), example(3)
STEP = AdamParams(learning_rate=0.1)


@pytest.mark.parametrize(
    "other",
    [(B, A, STEP), (A, STEP), (A, A, B, STEP), (A, B, STEP, STEP), (A, STEP, B, STEP), (A, B, AdamParams())],
)
def test_anything_lost_doubled_or_swapped_shows(other):
    assert after(A, B, STEP) == after(A, B, STEP)
    assert after(*other) != after(A, B, STEP)


def test_a_forward_leaves_no_trace():
    model = LedgerEngine().create(LEDGER_NAME, LoraConfig())
    model.forward_backward([A], "ppo", {})
    before = model.pending
    model.forward([B], "ppo", {})
    assert model.pending == before


def test_a_cold_optimizer_shows_at_the_next_step_and_not_before():
    model = LedgerEngine().create(LEDGER_NAME, LoraConfig())
    model.optim_step(STEP)
    adapter, optimizer = model.state()
    found = []
    for state in (optimizer, None):
        model.load(adapter, state)
        link = model.weights
        model.optim_step(STEP)
        found.append((link, model.weights))
    assert found[0][0] == found[1][0]
    assert found[0][1] != found[1][1]
