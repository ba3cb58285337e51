"""Arrivals: the most urgent first, and the lane is told once for all that come before it looks."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tinker_actors.actors.lane.arrivals import Arrivals


@pytest.fixture
def arrivals():
    return Arrivals()


def work(rank, name):
    return SimpleNamespace(rank=rank, name=name)


def test_the_most_urgent_come_out_first_and_in_their_order(arrivals):
    for rank, name in [(2, "e1"), (0, "t1"), (1, "r1"), (2, "e2"), (0, "t2")]:
        arrivals.put(work(rank, name))
    found = []
    while (one := arrivals.take()) is not None:
        found.append(one.name)
    assert found == ["t1", "t2", "r1", "e1", "e2"]


def test_the_lane_is_told_once_until_it_begins_to_look(arrivals):
    assert [arrivals.put(work(1, n)) for n in range(3)] == [True, False, False]
    arrivals.begin()
    assert [arrivals.put(work(1, n)) for n in range(2)] == [True, False]
