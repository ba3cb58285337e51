"""Idempotency keys: none twice, in this process or in a forked one."""

from __future__ import annotations

from tinker_actors.actors.lane.idempotency import idempotency_key

from ...forked import in_child  # noqa: TID252 - the tests are no package that is installed


def test_no_key_comes_twice():
    assert len({idempotency_key() for _ in range(1000)}) == 1000


def test_a_forked_child_has_other_keys_than_its_parent():
    before = idempotency_key()
    theirs = in_child(idempotency_key)
    ours = idempotency_key()
    assert len({before, theirs, ours}) == 3
    assert theirs.rpartition("-")[0] != ours.rpartition("-")[0]
    assert ours.rpartition("-")[0] == before.rpartition("-")[0]
