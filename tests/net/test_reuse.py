"""The rule of reuse: what speaks against a second request on a connection, and for how long."""

from __future__ import annotations

import random

import pytest

from tinker_actors.net.reuse import Reuse

CONNECTIONS = 64
ROUNDS = 400


class Pool:
    """Connections that all carry a request in each round, as the transport counts them. Times in rounds.

    Args:
        closes: tells of a connection's answers so far whether the next request meets its close.
    """

    def __init__(self, closes):
        self.reuse, self.closes = Reuse(), closes
        self.eras, self.answers = [-1] * CONNECTIONS, [0] * CONNECTIONS
        self.opened = self.resent = 0

    def round(self, now):
        for each in random.Random(now).sample(range(CONNECTIONS), CONNECTIONS):
            if self.answers[each] and self.closes(self.answers[each]):
                self.resent += 1
                self.reuse.met_close(self.eras[each], now)
                self.answers[each] = 0
            if not self.answers[each]:
                self.opened += 1
                self.reuse.look(now)
                self.eras[each] = -1
            self.answers[each] += 1
            if not self.reuse.allowed:
                self.answers[each] = 0
            elif self.eras[each] == self.reuse.era:
                self.reuse.held += 1
            else:
                self.eras[each] = self.reuse.era

    def run(self, begin=0, rounds=ROUNDS):
        for number in range(begin, begin + rounds):
            self.round(float(number))
        return self


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1, 0.2])
def test_where_some_meet_a_close_by_chance_connections_are_reused(share):
    luck = random.Random(3)
    pool = Pool(lambda _: luck.random() < share).run()
    assert pool.opened < 1.3 * share * CONNECTIONS * ROUNDS + CONNECTIONS


@pytest.mark.parametrize("share", [0.8, 1.0])
def test_where_most_meet_one_they_are_not(share):
    luck = random.Random(3)
    pool = Pool(lambda _: luck.random() < share).run()
    assert pool.resent < 0.1 * CONNECTIONS * ROUNDS


def test_one_moment_is_one_event():
    moment = [False]
    pool = Pool(lambda _: moment[0]).run(rounds=2)
    for number in range(2, 40):
        moment[0] = True
        pool.round(float(number))
        assert pool.reuse.allowed
        moment[0] = False
        pool.run(number, 2)


def close_all(reuse, now):
    met = 0
    while reuse.allowed:
        reuse.met_close(reuse.era, now)
        met += 1
    return met


def test_they_are_tried_again_more_and_more_rarely_while_the_first_reuse_meets_a_close():
    reuse = Reuse()
    assert close_all(reuse, 0.0) == 6
    now, waits = 0.0, []
    for _ in range(6):
        wait = 0.0
        while not reuse.allowed:
            wait += 1.0
            reuse.look(now + wait)
        now += wait
        waits.append(wait)
        assert close_all(reuse, now) == 1
    assert waits == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]


def test_when_reuse_holds_again_all_is_forgotten():
    reuse = Reuse()
    close_all(reuse, 0.0)
    reuse.look(5.0)
    reuse.held = 10
    assert close_all(reuse, 6.0) == 6
    reuse.look(10.9)
    assert not reuse.allowed
    reuse.look(11.0)
    assert reuse.allowed


def test_a_connection_that_was_not_answered_since_the_last_event_says_nothing():
    reuse = Reuse()
    for _ in range(100):
        reuse.met_close(reuse.era - 1, 0.0)
    assert (reuse.era, reuse.allowed) == (0, True)


def test_what_nobody_asked_for_ends_reuse_for_good():
    reuse = Reuse()
    reuse.unrequested()
    reuse.look(now=1e9)
    assert not reuse.allowed


def test_an_answer_that_can_not_be_its_requests_ends_reuse_for_a_while():
    reuse = Reuse()
    reuse.mixed_up(now=0.0)
    assert not reuse.allowed
    reuse.look(now=60.0)
    assert reuse.allowed
    reuse.unrequested()
    reuse.mixed_up(now=61.0)
    reuse.look(now=1e9)
    assert not reuse.allowed
