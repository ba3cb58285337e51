"""A server that died shows as that in the progress of whatever waits for it, on the fake clock within 5 s."""

from __future__ import annotations

import pytest

from .lane_bench import LaneBench

CHANNEL = ("session-1:sample:0", 0)
SOON = 5.0


def die(bench, seconds):
    """Have every request fail at once, as on a machine on which nobody listens, for some seconds."""
    end = bench.now + seconds
    while bench.now < end:
        for sent in list(bench.peer.pending):
            sent.breaks()
        bench.wait(0.02)


def progress(bench, name):
    return bench.works[name].tracker.read()


@pytest.mark.parametrize("channel", [CHANNEL, None], ids=["heard of", "polled"])
@pytest.mark.parametrize("seed", range(5))
def test_a_sample_at_the_server(channel, seed):
    bench = LaneBench()
    for _ in range(seed):
        bench.lane._desk.random.random()
    bench.sample("s", channel=channel)
    bench.settle()
    bench.accept()
    assert progress(bench, "s").reason == "queued at the server"
    die(bench, SOON)
    assert progress(bench, "s").reason == "backing off"
    assert "got no answer" in progress(bench, "s").detail


def test_samples_that_wait_here():
    bench = LaneBench(max_connections=9, max_submits=1, adaptive_limit=False)
    for name in ("first", "turn", "queued"):
        bench.sample(name)
        bench.settle()
        if name != "queued":
            bench.accept()
    assert progress(bench, "turn").reason == "waiting for its turn"
    bench.sample("late")
    bench.settle()
    assert progress(bench, "late").reason == "queued here"
    die(bench, SOON)
    for name in bench.works:
        assert "got no answer" in progress(bench, name).detail, name


@pytest.mark.parametrize("channel", [CHANNEL, None], ids=["heard of", "polled"])
def test_one_cut_is_no_dead_server_and_one_that_is_back_shows_as_that(channel):
    bench = LaneBench()
    bench.sample("s", channel=channel)
    bench.settle()
    bench.accept()
    die(bench, 0.02)
    bench.wait(1.0)
    assert (progress(bench, "s").reason, progress(bench, "s").detail) == ("queued at the server", "")
    die(bench, 60.0)
    assert progress(bench, "s").reason == "backing off"
    bench.wait(30.0)  # the server is back and holds what it is asked
    assert (progress(bench, "s").reason, progress(bench, "s").detail) == ("queued at the server", "")
