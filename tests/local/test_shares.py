"""Shares: all limits on memory together are no more than there is, whatever that is."""

from __future__ import annotations

import msgspec
import pytest

from tinker_actors.local.core.limits import Limits
from tinker_actors.local.core.requests.intake import PARTS_PER_DATUM
from tinker_actors.local.shares import LEAST_BYTES, OWN_BYTES, limits_within, shares

GIB = 2**30
SIZES = [LEAST_BYTES, GIB // 3, GIB, 2 * GIB, 5 * GIB, 16 * GIB, 500 * GIB]
OF_MEMORY = [
    "arriving_bytes", "held_bytes", "computing_bytes", "drawing_bytes", "result_bytes", "adapter_bytes",
    "sampler_bytes", "checkpoint_bytes", "unread_bytes", "unwritten_bytes",
]  # fmt: skip


@pytest.mark.parametrize("memory", SIZES)
def test_all_shares_together_are_what_there_is(memory):
    found = shares(memory)
    assert 0.98 * memory < sum(found.values()) <= memory
    assert min(found.values()) > 0


@pytest.mark.parametrize("memory", [*SIZES, 100])
def test_all_limits_together_fit_into_memory(memory):
    limits = limits_within(memory, {})
    # The body that is being read: its bytes, its numbers as Python has them, its lists and objects.
    body = limits.body_bytes + 32 * limits.body_values + 150 * PARTS_PER_DATUM * limits.datums_per_request
    kept = sum(getattr(limits, name) for name in OF_MEMORY) + 2 * limits.past_bytes
    assert kept + body <= max(memory - OWN_BYTES, LEAST_BYTES)


@pytest.mark.parametrize("memory", SIZES)
def test_no_limit_is_more_than_is_of_use(memory):
    usual = msgspec.structs.asdict(Limits())
    found = msgspec.structs.asdict(limits_within(memory, {}))
    assert all(found[name] <= most for name, most in usual.items() if most is not None)


def test_a_large_machine_has_the_usual_limits():
    usual = msgspec.structs.asdict(Limits())
    found = msgspec.structs.asdict(limits_within(16 * GIB, {}))
    assert {name for name in usual if found[name] != usual[name]} == {
        "adapter_bytes", "sampler_bytes", "checkpoint_bytes", "drawing_bytes", "computing_bytes",
    }  # fmt: skip


def test_what_is_given_holds():
    limits = limits_within(GIB, {"held_bytes": 7, "hold_seconds": 0.5, "drawing_bytes": 10**12})
    assert (limits.held_bytes, limits.hold_seconds, limits.drawing_bytes) == (7, 0.5, 10**12)
    assert limits.result_bytes < Limits().result_bytes
