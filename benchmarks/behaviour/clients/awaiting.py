"""Thousands of futures in one event loop, or in one plain thread: what does it take to wait for them?"""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import msgspec

import tinker_actors as ta
from benchmarks.behaviour.clients.program import GIVE_UP, first_token, main, prompt
from benchmarks.measure import Meter, threads
from benchmarks.processes import stub_stats
from benchmarks.stub.sampling_desk import tokens_for


class Spec(msgspec.Struct, frozen=True):
    """One run.

    Attributes:
        url: the stub server.
        cores: the processors to run on.
        driver: "asyncio" for a task per sample in one loop, "thread" for one thread that waits for one after the other.
        samples: samples in flight, all at once.
        longest: most tokens of the longest; they are spread evenly below it, so that results stream in.
        result_tokens: tokens in each result.
        connections: the client's cap on connections.
    """

    url: str
    cores: list[int]
    driver: str
    samples: int
    longest: int
    result_tokens: int
    connections: int


class CountingLoop(asyncio.SelectorEventLoop):
    """A loop that counts its turns, those for which it was woken from sleep, and what other threads ask of it."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = 0
        self.wakes = 0
        self.calls = 0

    def _run_once(self) -> None:
        self.turns += 1
        self.wakes += not self._ready  # type: ignore[attr-defined] # nothing to do: it sleeps until something comes
        super()._run_once()  # type: ignore[misc]

    def call_soon_threadsafe(self, *args: Any, **kwargs: Any) -> asyncio.Handle:  # type: ignore[override]
        """See `asyncio.AbstractEventLoop`."""
        self.calls += 1
        return super().call_soon_threadsafe(*args, **kwargs)


def run(spec: Spec) -> dict[str, Any]:
    """Return what waiting cost, and how many results were right."""
    config = ta.Config(max_connections=spec.connections, adaptive_limit=False, poll_timeout=GIVE_UP)
    with ta.ServiceClient(base_url=spec.url, config=config) as service:
        sampler = service.create_sampling_client(base_model="stub")
        sampler.sample(prompt(0), 1, ta.SamplingParams(max_tokens=1)).result(GIVE_UP)
        lengths = random.Random(4)
        params = [ta.SamplingParams(max_tokens=lengths.randint(1, spec.longest)) for _ in range(spec.samples)]
        result = (_in_a_loop if spec.driver == "asyncio" else _in_a_thread)(sampler, params, spec)
        result["server"] = stub_stats(spec.url)
    return result


def _right(number: int, response: Any, spec: Spec) -> bool:
    tokens: list[int] = list(response.sequences[0].tokens)
    return tokens == tokens_for(first_token(number), spec.result_tokens)


def _in_a_loop(sampler: Any, params: list[ta.SamplingParams], spec: Spec) -> dict[str, Any]:
    loop = CountingLoop()
    asyncio.set_event_loop(loop)
    marks: dict[str, float] = {}

    async def one(number: int) -> bool:
        return _right(number, await sampler.sample(prompt(number), 1, params[number]), spec)

    async def everything() -> int:
        before = threads()
        tasks = [loop.create_task(one(number)) for number in range(spec.samples)]
        await asyncio.sleep(0)  # every task has submitted its sample and waits
        marks.update(
            waiting=time.monotonic(), turns=loop.turns, wakes=loop.wakes, calls=loop.calls, more=threads() - before
        )
        right = await asyncio.gather(*tasks)
        marks["over"] = time.monotonic()
        return sum(right)

    meter = Meter()
    meter.start()
    right = loop.run_until_complete(everything())
    figures = meter.stop()
    loop.close()
    seconds = marks["over"] - marks["waiting"]
    return {
        "right": right,
        "figures": figures,
        "waiting_seconds": seconds,
        "wakes_per_second": (loop.wakes - marks["wakes"]) / seconds,
        "turns_per_second": (loop.turns - marks["turns"]) / seconds,
        "calls_per_second": (loop.calls - marks["calls"]) / seconds,
        "more_threads": marks["more"],
    }


def _in_a_thread(sampler: Any, params: list[ta.SamplingParams], spec: Spec) -> dict[str, Any]:
    before = threads()
    meter = Meter()
    meter.start()
    futures = [sampler.sample(prompt(number), 1, each) for number, each in enumerate(params)]
    more, began = threads() - before, time.monotonic()
    right = sum(_right(number, future.result(GIVE_UP), spec) for number, future in enumerate(futures))
    return {
        "right": right,
        "figures": meter.stop(),
        "waiting_seconds": time.monotonic() - began,
        "more_threads": more,
    }


if __name__ == "__main__":
    main(run, Spec)
