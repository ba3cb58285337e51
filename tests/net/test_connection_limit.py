"""ConnectionLimit: what it allows, whom it tells, and how it finds room again."""

from __future__ import annotations

import itertools
import logging

from tinker_actors.net.connection_limit import ConnectionLimit
from tinker_actors.net.open_files import OpenFiles
from tinker_actors.runtime.timers import Timers


class World:
    def __init__(self, most=1_000, files=10_000):
        self.now, self.timers, self.files = 100.0, Timers(), files
        self.waiting, self.retries = 0, 0
        self.limit = ConnectionLimit(
            most,
            "http://server",
            self.timers,
            lambda: self.now,
            lambda: self.waiting,
            self._retry,
            OpenFiles(lambda: self.files, lambda: 0),
        )

    def _retry(self):
        self.retries += 1

    def advance(self, seconds):
        self.now += seconds
        while (callback := self.timers.pop_due(self.now)) is not None:
            callback()


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_up_to_the_users_limit_all_is_allowed_and_nothing_above():
    world = World(most=50)
    assert all(world.limit.allows(held) for held in range(50))
    assert not world.limit.allows(50)
    assert world.limit.capacity() == 50


def test_requests_that_wait_only_for_a_moment_are_no_reason_to_warn(caplog):
    world = World(most=5)
    assert not world.limit.allows(5)
    world.advance(10)

    assert not warnings(caplog)
    assert len(world.timers) == 0


def test_the_warning_counts_who_waits_and_comes_once(caplog):
    world = World(most=5)
    for _ in range(10):
        world.waiting = 37
        world.limit.allows(5)
        world.advance(10)

    (text,) = warnings(caplog)
    assert "http://server" in text
    assert "5 connections" in text
    assert "37 requests" in text
    assert len(world.timers) == 0


def test_without_files_a_few_are_allowed_and_it_is_tried_again_as_long_as_somebody_waits():
    world = World(files=0)
    assert [world.limit.allows(held) for held in range(6)] == [True] * 4 + [False] * 2
    world.waiting = 1
    world.advance(1)
    assert world.retries == 1
    assert not world.limit.allows(4)
    world.files = 1_000
    world.advance(1)
    assert world.retries == 2
    assert world.limit.allows(4)
    world.waiting = 0
    world.advance(100)
    assert len(world.timers) == 0


def test_a_second_refusal_before_the_first_is_over_does_not_end_the_trying():
    world = World()
    world.waiting = 1
    world.limit._retry = lambda: retries.append(world.limit.allows(5))
    retries = []
    world.limit.refused(5)
    world.advance(0.4)
    world.limit.refused(5)
    for _ in range(4):
        world.advance(0.3)

    assert retries[-1:] == [True]


def test_what_can_be_counted_on_shrinks_to_what_there_was_and_grows_again_step_by_step():
    world = World(files=100)
    assert world.limit.capacity() == 1_000
    world.limit.refused(60)
    assert world.limit.capacity() == 60
    steps = []
    for _ in range(60):
        world.advance(5)
        steps.append(world.limit.capacity())

    assert steps[0] == 66
    assert steps == sorted(steps)
    assert all(after <= max(before * 1.12, before + 1) for before, after in itertools.pairwise(steps))
    assert steps[-1] == 1_000


def test_closing_leaves_no_timer():
    world = World(files=0)
    world.limit.refused(3)
    world.limit.close()

    assert len(world.timers) == 0
