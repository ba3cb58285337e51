"""What a mishap costs, over real sockets: cut connections, a bad moment of the server, requests that fail at random."""

from __future__ import annotations

import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

import tinker_actors as ta

from .bending import Bending

pytestmark = [pytest.mark.slow, pytest.mark.alone]

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


def closed(_):
    raise ConnectionResetError


REFUSALS = {
    "429": lambda _: (429, {}),
    "429, Retry-After 0": lambda _: (429, {}, [("Retry-After", "0")]),
    "503": lambda _: (503, {}),
    "500": lambda _: (500, {}),
    "closed": closed,
    "gone": closed,
}


def ask_where_all_fails(answer, port_of, connects):
    """Have a client do all it can at once; return how many requests a second the server got, and what was over."""
    config = ta.Config(dialect="json", server_orders=True, heartbeat_interval=1.0)
    pause = threading.Event()
    with Bending() as server, ta.ServiceClient(base_url=server.url, config=config) as service:
        sampler, trainer = sampler_of(service), service.create_lora_training_client("fake", rank=4)
        trainer.optim_step().result(HANG)
        server.fallback = REFUSALS[answer]
        if answer == "gone":
            port_of.append(server._server.server_address[1])
            server.__exit__()
        futures = [*draw(sampler, 50), trainer.optim_step(), service._get_server_capabilities_future()]
        more = [service.create_sampling_client(base_model="fake") for _ in range(5)]
        futures += [client._ready for client in more]
        pause.wait(4.0)
        futures += [*draw(sampler, 50), service._get_server_capabilities_future()]
        counted = connects if answer == "gone" else server.log
        before, begun = len(counted), time.monotonic()
        pause.wait(6.0)
        rate = (len(counted) - before - 1) / (time.monotonic() - begun)
        over = [future for future in futures if future.done()]
        service.close(timeout=0)
    return rate, over


@pytest.fixture(scope="module")
def asked_where_all_fails():
    """What came of each, all at a time: they wait for most of it."""
    connects, port_of, connect = [], [], socket.socket.connect

    def counted(self, where):
        if where[1] in port_of:
            connects.append(where)
        return connect(self, where)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(len(REFUSALS)) as pool:
        patch.setattr(socket.socket, "connect", counted)
        runs = {answer: pool.submit(ask_where_all_fails, answer, port_of, connects) for answer in REFUSALS}
        wait(runs.values())
        assert connects
        yield runs


@pytest.mark.parametrize("answer", REFUSALS)
def test_all_that_one_client_asks_where_all_fails_is_less_than_one_request_a_second(answer, asked_where_all_fails):
    """Samples, training, questions, new samplers and heartbeats; the limit of each alone would be that of all."""
    rate, over = asked_where_all_fails[answer].result()
    assert rate < 1.0
    assert over == []


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
