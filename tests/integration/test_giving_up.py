"""Samples that are given up while their submission is under way to a server that is far away: it is told of each."""

from __future__ import annotations

import asyncio
import gc
import json
import threading

import pytest

import tinker_actors as ta

from .between import Between
from .conftest import HANG
from .helpers import eventually, prompt

LONG = ta.SamplingParams(max_tokens=1900, stop=[])
COUNT = 8


class FarAway(Between):
    """The embedded server behind a network on which the answers to submissions are under way until `arrive` is set."""

    def __init__(self, url):
        super().__init__(url, self._delay)
        self.arrive = threading.Event()
        self.accepted = {}

    def _delay(self, asked):
        if asked.name == "asample":
            request_id = json.loads(asked.answer).get("request_id")
            if request_id is not None:
                self.accepted[request_id] = asked
                self.arrive.wait(HANG)

    def cancelled(self):
        """Return the ids that the server says it cancelled."""
        answers = [json.loads(asked.answer) for asked in self.of("cancel_future")]
        return {answer["request_id"] for answer in answers if answer["cancelled"]}


@pytest.fixture
def network(server):
    with FarAway(server.url) as network:
        yield network
        network.arrive.set()


@pytest.fixture
def sampler(network):
    with ta.ServiceClient(base_url=network.url) as service:
        yield service.create_sampling_client(base_model="local/tiny").result(HANG)


def under_way(network):
    eventually(lambda: len(network.accepted) == COUNT)


def by_cancel(sampler, network):
    futures = [sampler.sample(prompt("a"), 4, LONG) for _ in range(COUNT)]
    under_way(network)
    assert all(future.cancel() for future in futures)


def by_timeout(sampler, network):
    futures = [sampler.with_options(timeout=2.0).sample(prompt("a"), 4, LONG) for _ in range(COUNT)]
    under_way(network)
    assert all(isinstance(future.exception(HANG), ta.DeadlineExceededError) for future in futures)


def by_wait_for(sampler, network):
    async def hasty():
        waits = [asyncio.wait_for(sampler.sample(prompt("a"), 4, LONG).coroutine(), 2.0) for _ in range(COUNT)]
        assert all(isinstance(end, TimeoutError) for end in await asyncio.gather(*waits, return_exceptions=True))

    asyncio.run(hasty())


def by_a_cancelled_task(sampler, network):
    async def main():
        async def loop():
            async for _ in sampler.map([prompt("a")] * COUNT, 4, LONG):
                pass

        task = asyncio.ensure_future(loop())
        await asyncio.to_thread(under_way, network)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())


def by_leaving_map(sampler, network):
    refused = ta.ModelInput.from_ints([100_000])
    for _, result in sampler.map([*[prompt("a")] * COUNT, refused], 4, LONG, on_error="return"):
        assert isinstance(result, ta.TinkerError)
        under_way(network)
        break


def by_dropping_the_iterator(sampler, network):
    fan_out = sampler.map([prompt("a")] * COUNT, 4, LONG)
    fan_out._step()
    under_way(network)
    del fan_out
    gc.collect()


@pytest.mark.parametrize(
    "give_up",
    [by_cancel, by_timeout, by_wait_for, by_a_cancelled_task, by_leaving_map, by_dropping_the_iterator],
)
def test_the_server_is_told_of_every_sample_that_it_accepted(sampler, network, give_up):
    give_up(sampler, network)
    assert network.accepted
    assert network.of("cancel_future") == []  # nobody knows their ids yet
    network.arrive.set()
    eventually(lambda: network.cancelled() == set(network.accepted))
    eventually(lambda: not sampler._service.lanes.tables["sample"])


def test_a_submission_whose_answer_is_cut_is_sent_again_to_be_cancelled(sampler, network):
    cut = []
    ask = network.spoil

    def spoil(asked):
        if asked.name == "asample" and not cut:
            cut.append(json.loads(asked.answer)["request_id"])
            network.arrive.wait(HANG)
            raise ConnectionError("cut")
        ask(asked)

    network.spoil = spoil
    future = sampler.sample(prompt("a"), 4, LONG)
    eventually(lambda: bool(cut))
    assert future.cancel()
    network.arrive.set()
    eventually(lambda: network.cancelled() == set(cut))
    assert set(network.accepted) == set(cut)  # the server knew the request by its key
