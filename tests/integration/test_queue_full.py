"""Bounded memory: what happens to samples for which there is no room, in threads, event loops and callbacks."""

from __future__ import annotations

import asyncio
import threading

import pytest

import tinker_actors as ta
from tinker_actors.clients.admission import OVERHEAD
from tinker_actors.errors import ClientClosedError, QueueFullError

from .conftest import HANG
from .helpers import eventually, prompt

GREEDY = ta.SamplingParams(max_tokens=2, temperature=0.0, stop=[])
ROOM = 4


@pytest.fixture
def make(server):
    """A service with room for four small samples, and a policy whose samples stay until it is published."""
    services = []

    def made(**config):
        config = {"queue_bytes": ROOM * (OVERHEAD + 300), "max_block": HANG} | config
        service = ta.ServiceClient(base_url=server.url, config=ta.Config(**config))
        services.append(service)
        policy = service.create_lora_training_client("local/tiny", rank=2, seed=0).policy("main")
        return service, policy, service._service.lanes.queue_budget

    yield made
    for service in services:
        if not service.closed:
            service.close(timeout=HANG)


def fill(policy):
    return [policy.sample(prompt("a"), 1, GREEDY) for _ in range(ROOM)]


def in_thread(call):
    """Call in another thread; return the thread and what came of it, later."""
    came = []

    def run():
        try:
            came.append(call())
        except Exception as error:
            came.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, came


def test_a_thread_waits_for_room_and_goes_on_when_there_is_some(make):
    _, policy, budget = make()
    futures = fill(policy)
    thread, came = in_thread(lambda: policy.sample(prompt("b"), 1, GREEDY))
    eventually(lambda: budget.waiting)
    assert not came
    futures[0].cancel()
    thread.join(HANG)
    policy.publish().result(HANG)
    assert len(came[0].result(HANG).sequences[0].tokens) == 2
    for future in futures[1:]:
        future.result(HANG)
    assert (budget.held, budget.holders, budget.waiting) == (0, 0, 0)


@pytest.mark.parametrize("limit", ["max_block", "timeout"])
def test_a_thread_does_not_wait_for_ever(make, limit):
    _, policy, budget = make(**({"max_block": 0.05} if limit == "max_block" else {}))
    futures = fill(policy)
    view = policy.with_options(timeout=0.05) if limit == "timeout" else policy
    with pytest.raises(QueueFullError) as full:
        view.sample(prompt("b"), 1, GREEDY)
    assert f"{ROOM} samples hold {budget.held} bytes" in str(full.value)
    assert f"Config(queue_bytes={budget.limit})" in str(full.value)
    assert "0.05 s" in str(full.value)
    for future in futures:
        future.cancel()
    assert (budget.held, budget.waiting) == (0, 0)


def test_a_request_larger_than_all_the_room_passes_when_it_is_alone(make):
    service, _, budget = make(queue_bytes=5000)
    sampler = service.create_sampling_client(base_model="local/tiny")
    futures = [sampler.sample(prompt("a" * 1000), 1, GREEDY) for _ in range(3)]
    assert [len(future.result(HANG).sequences) for future in futures] == [1, 1, 1]
    assert budget.held == 0


def test_closing_wakes_who_waits_for_room(make):
    service, policy, budget = make()
    fill(policy)
    thread, came = in_thread(lambda: policy.sample(prompt("b"), 1, GREEDY))
    eventually(lambda: budget.waiting)
    service.close(timeout=0)
    thread.join(HANG)
    assert isinstance(came[0], ClientClosedError)
    eventually(lambda: budget.held == 0)


def test_in_an_event_loop_the_future_waits(make):
    service, policy, budget = make()
    sampler = service.create_sampling_client(base_model="local/tiny").result(HANG)
    futures = fill(policy)

    async def main():
        waiting = [sampler.sample(prompt(f"{i}"), 1, GREEDY) for i in range(3)]
        assert budget.waiting
        while any(future.progress().reason != "queued here" for future in waiting):  # noqa: ASYNC110 - set elsewhere
            await asyncio.sleep(0.01)
        assert not any(future.done() for future in waiting)
        futures[0].cancel()
        return [await future for future in waiting]

    responses = asyncio.run(main())
    assert [len(response.sequences[0].tokens) for response in responses] == [2, 2, 2]
    for future in futures:
        future.cancel()
    eventually(lambda: budget.held == 0)


def test_in_an_event_loop_too_much_is_refused_at_once(make):
    _, policy, budget = make()
    futures = fill(policy)

    async def main():
        with pytest.raises(QueueFullError, match="not even for waiting"):
            for _ in range(100):
                futures.append(policy.sample(prompt("b"), 1, GREEDY))

    asyncio.run(main())
    assert ROOM < len(futures) <= 2 * ROOM + 1
    assert budget.held + budget.waiting <= 2 * budget.limit
    for future in reversed(futures):
        future.cancel()
    assert (budget.held, budget.holders, budget.waiting) == (0, 0, 0)


def test_a_cancelled_future_leaves_the_line(make):
    service, policy, budget = make()
    sampler = service.create_sampling_client(base_model="local/tiny").result(HANG)
    futures = fill(policy)

    async def main():
        first, second = (sampler.sample(prompt("b"), 1, GREEDY) for _ in range(2))
        waiting = budget.waiting
        task = asyncio.ensure_future(first.coroutine())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert 0 < budget.waiting < waiting
        futures[0].cancel()
        return await second

    assert len(asyncio.run(main()).sequences) == 1
    for future in futures:
        future.cancel()
    eventually(lambda: budget.held == 0)
    eventually(lambda: not service._service.lanes.tables["sample"])


def test_a_callback_does_not_wait_on_the_thread_that_runs_callbacks(make):
    service, policy, budget = make()
    sampler = service.create_sampling_client(base_model="local/tiny").result(HANG)
    came = []
    called = threading.Event()

    def call(_):
        came.append(sampler.sample(prompt("b"), 1, GREEDY))
        called.set()

    futures = [sampler.sample(prompt("a"), 1, GREEDY)]
    futures[0].result(HANG)
    futures += fill(policy)
    futures[0].add_done_callback(call)
    assert called.wait(HANG)
    assert budget.waiting
    futures[1].cancel()
    assert len(came[0].result(HANG).sequences) == 1
    for future in futures:
        future.cancel()
    eventually(lambda: budget.held == 0)


def test_a_map_needs_no_more_room_than_there_is(make):
    service, _, budget = make()
    sampler = service.create_sampling_client(base_model="local/tiny")
    got = dict(sampler.map((prompt(f"{i}") for i in range(30)), 1, GREEDY, in_flight=20))
    assert sorted(got) == list(range(30))
    eventually(lambda: budget.held == 0)
