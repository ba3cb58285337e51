"""What a mishap costs, over real sockets: cut connections, a bad moment of the server, requests that fail at random."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import wait

import pytest

import tinker_actors as ta

from .bending import Bending

HANG = 60.0
PROMPT = ta.ModelInput.from_ints([1, 2, 3])
PARAMS = ta.SamplingParams(max_tokens=2)


def sampler_of(service):
    client = service.create_sampling_client(base_model="fake")
    client.result(HANG)
    return client


def draw(sampler, n):
    return [sampler.sample(PROMPT, 1, PARAMS) for _ in range(n)]


def eventually(condition):
    pause = threading.Event()
    end = time.monotonic() + HANG
    while not condition():
        assert time.monotonic() < end
        pause.wait(0.01)


def test_hundreds_of_polls_that_are_cut_at_one_moment_are_back_in_a_moment():
    n, hold = 400, threading.Event()

    def held(_):
        hold.wait(HANG)

    with Bending(retrieve_future=held) as server, ta.ServiceClient(base_url=server.url) as service:
        futures = draw(sampler_of(service), n)
        eventually(lambda: len(server.times("retrieve_future")) >= n)
        cut = time.monotonic()
        server.cut()
        eventually(lambda: len(server.times("retrieve_future")) >= 2 * n)
        last = server.times("retrieve_future")[2 * n - 1]
        hold.set()
        assert not wait(futures, HANG).not_done
    assert last - cut < 3.0 * 10  # seconds it may take, tenfold


def test_a_bad_moment_of_the_server_costs_little_more_than_the_moment():
    bad = threading.Event()
    bad.set()

    def unavailable(_):
        return (503, {"detail": "a moment"}) if bad.is_set() else None

    with Bending(asample=unavailable) as server, ta.ServiceClient(base_url=server.url) as service:
        futures = draw(sampler_of(service), 60)
        eventually(lambda: len(server.times("asample")) >= 18)  # the first sixteen, and the round after
        bad.clear()
        over = time.monotonic()
        assert not wait(futures, HANG).not_done
        assert time.monotonic() - over < 3.0 * 10


@pytest.mark.parametrize("endpoint", ["asample", "retrieve_future"])
def test_a_server_at_which_all_fails_is_asked_less_than_once_a_second(endpoint):
    n = 100
    with (
        Bending(**{endpoint: lambda _: (500, {"detail": "broken"})}) as server,
        ta.ServiceClient(base_url=server.url) as service,
    ):
        futures = draw(sampler_of(service), n)
        eventually(lambda: len(server.times(endpoint)) >= 5)  # how many more come of the first rounds is chance
        pause = threading.Event()
        pause.wait(2.0)
        before = len(server.times(endpoint))
        assert before <= 2 * n + 10
        pause.wait(5.0)
        assert len(server.times(endpoint)) - before <= 6
        del server.rules[endpoint]
        assert not wait(futures, HANG).not_done


@pytest.mark.parametrize("share", [0.05, 0.10])
def test_where_few_requests_fail_at_least_half_of_the_throughput_is_left(share):
    luck = random.Random(7)

    def unlucky(_):
        return (500, {"detail": "unlucky"}) if luck.random() < share else None

    def seconds(**rules):
        with Bending(**rules) as server, ta.ServiceClient(base_url=server.url) as service:
            sampler = sampler_of(service)
            begun = time.monotonic()
            assert not wait(draw(sampler, 600), HANG).not_done
            return time.monotonic() - begun

    clean = max(seconds() for _ in range(2))
    # Of a run that takes a moment the last backoff would be most.
    assert seconds(asample=unlucky, retrieve_future=unlucky) < 2 * max(clean, 1.0)
