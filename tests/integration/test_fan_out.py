"""Fan-out on the embedded server: what the server has to do, and what it need not finish."""

from __future__ import annotations

import asyncio
import gc

import pytest

import tinker_actors as ta
from tinker_actors.errors import InvalidInputError, RequestFailedError

from .conftest import HANG
from .helpers import eventually, prompt

GREEDY = ta.SamplingParams(max_tokens=3, temperature=0.0, stop=[])
LONG = ta.SamplingParams(max_tokens=1500, stop=[])
BAD = ta.ModelInput.from_ints([100_000])


@pytest.fixture
def sampler(service):
    return service.create_sampling_client(base_model="local/tiny").result(HANG)


@pytest.fixture
def under_way(service):
    """How many samples the client has under way."""
    table = service._service.lanes.tables["sample"]
    return lambda: len(table)


def test_every_prompt_gets_its_own_response(sampler):
    prompts = [prompt(f"{i}") for i in range(100)]
    expected = [sampler.sample(each, 2, GREEDY).result(HANG).sequences[0].tokens for each in prompts[:5]]
    got = dict(sampler.map(iter(prompts), 2, GREEDY, in_flight=16))
    assert sorted(got) == list(range(100))
    assert [got[i].sequences[0].tokens for i in range(5)] == expected
    assert [index for index, _ in sampler.map(prompts, 1, GREEDY, ordered=True)] == list(range(100))


def test_no_more_is_under_way_than_was_asked_for(sampler, under_way):
    most = 0
    for _ in sampler.with_options(max_in_flight=5).map((prompt(f"{i}") for i in range(60)), 1, GREEDY):
        most = max(most, under_way())
    assert 1 <= most <= 5


def test_leaving_the_loop_cancels_the_rest_on_the_server(sampler, under_way):
    def first(prompts):
        for index, response in sampler.map(prompts, 1, LONG, in_flight=32, on_error="return"):
            assert isinstance(response, ta.TinkerError)
            return index
        return None

    cancelled = []
    ask = sampler._ask

    def noted(*args):
        cancelled.append(ask(*args))
        return cancelled[-1]

    sampler._ask = noted
    assert first([BAD] + [prompt("b")] * 31) == 0
    eventually(lambda: all(future.done() for future in cancelled))
    eventually(lambda: under_way() == 0)
    assert [future.cancelled() for future in cancelled] == [False] + [True] * (len(cancelled) - 1)
    assert len(cancelled) > 1


def test_a_bad_prompt_is_the_error_of_its_own(sampler):
    prompts = [prompt("a"), BAD, prompt("c"), ta.ModelInput.empty()]
    got = dict(sampler.map(prompts, 1, GREEDY, on_error="return"))
    assert isinstance(got[1], RequestFailedError | ta.APIStatusError)
    assert isinstance(got[3], InvalidInputError)
    assert len(got[0].sequences) == len(got[2].sequences) == 1
    with pytest.raises(ta.TinkerError):
        list(sampler.map([BAD], 1, GREEDY))


def test_async_loops_of_one_event_loop_share_the_client(sampler, under_way):
    async def prompts(count):
        for i in range(count):
            await asyncio.sleep(0)
            yield prompt(f"{i}")

    async def collect(count):
        return {index: response async for index, response in sampler.map(prompts(count), 1, GREEDY, in_flight=8)}

    async def main():
        return await asyncio.gather(*(collect(count) for count in (5, 20, 40)))

    assert [len(got) for got in asyncio.run(main())] == [5, 20, 40]
    assert under_way() == 0


def test_a_cancelled_task_cancels_its_samples(sampler, under_way):
    async def main():
        async def loop():
            async for _ in sampler.map([prompt("a")] * 20, 8, LONG):
                pass

        task = asyncio.ensure_future(loop())
        while not under_way():  # noqa: ASYNC110 - it is a lane's table
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    eventually(lambda: under_way() == 0)


def test_a_dropped_iterator_cancels_its_samples(sampler, under_way):
    fan_out = sampler.map([prompt("a")] * 20, 8, LONG)
    fan_out._step()
    assert under_way() == 20
    del fan_out
    gc.collect()
    eventually(lambda: under_way() == 0)
