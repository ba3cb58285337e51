"""The rule of reuse: what speaks against a second request on a connection, and for how long."""

from __future__ import annotations

from tinker_actors.net.reuse import Reuse


def test_the_rule_of_reuse():
    reuse = Reuse()
    for _ in range(2):
        era = reuse.era
        reuse.met_close(era, 1, now=0.0)
        reuse.met_close(era, 1, now=0.0)  # open at the same time
    assert reuse.allowed
    reuse.met_close(reuse.era, 1, now=10.0)
    assert not reuse.allowed
    reuse.look(now=69.0)
    assert not reuse.allowed
    reuse.look(now=70.0)
    assert reuse.allowed
    reuse.met_close(reuse.era, 1, now=71.0)
    assert not reuse.allowed


def test_a_connection_that_carried_many_speaks_for_reuse():
    reuse = Reuse()
    for answers in (1, 2, 100, 1, 2):
        reuse.met_close(reuse.era, answers, now=0.0)
    assert reuse.allowed
    reuse.met_close(reuse.era, 1, now=0.0)
    assert not reuse.allowed


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
