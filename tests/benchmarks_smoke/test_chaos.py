"""A small chaos run: training and samples under every fault at once end as on a calm server."""

from __future__ import annotations

import pytest

from benchmarks import chaos
from tinker_actors.local.faults.rules import KINDS

pytestmark = pytest.mark.slow


def test_under_every_fault_at_once_all_is_decided_and_applied_once_and_in_order():
    run = chaos.run(samples=150, steps=10, chance=0.03, limit=240.0)
    assert not run.problems
    assert sum(run.strikes.values()) > 50


def test_every_kind_of_fault_that_a_client_can_mend_is_among_them():
    assert {fault.get("kind", "status") for fault in chaos.FAULTS.values()} == set(KINDS) - {"session_lost"}
