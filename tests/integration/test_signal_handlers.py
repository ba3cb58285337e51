"""Signal handlers call us: "save now" on SIGTERM is how the jobs of a cluster end. A timer stands for the signal.

The handler interrupts the same or another call on the main thread, a thousand times, wherever it is just then. No call
waits for what its own thread holds, and nothing that the handler waits for needs what that thread holds.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import signal
import time

import pytest

import tinker_actors as ta
from tinker_actors.clients.admission import OVERHEAD
from tinker_actors.runtime.actor import Describe

from .conftest import HANG
from .helpers import datum, eventually, prompt

pytestmark = pytest.mark.slow

GREEDY = ta.SamplingParams(max_tokens=1, temperature=0.0, stop=[])
SECONDS = 0.7


def race(in_main, in_handler, every=0.0015):
    """Call `in_main` again and again while a handler interrupts it with `in_handler`; return how often each ran."""
    rounds = signals = 0
    over = False

    def handler(*_):
        nonlocal signals
        signals += 1
        in_handler()
        if not over:
            signal.setitimer(signal.ITIMER_REAL, every)

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, every)
    end = time.monotonic() + SECONDS
    try:
        while time.monotonic() < end:
            in_main()
            rounds += 1
    finally:
        over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert rounds
    assert signals
    return rounds, signals


@pytest.fixture
def tight(server):
    """A service with room for three samples."""
    config = ta.Config(queue_bytes=3 * (OVERHEAD + 300), max_block=HANG)
    with ta.ServiceClient(base_url=server.url, config=config) as service:
        yield service


@pytest.fixture
def loop():
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def calls(service, trainer, loop):
    """What programs call, by name."""
    policy = trainer.policy("main")
    policy.publish().result(HANG)
    sampler = service.create_sampling_client(base_model="local/tiny")
    names = iter(range(10**9))

    async def gathered():
        return await asyncio.gather(*(sampler.sample(prompt("a"), 1, GREEDY) for _ in range(3)))

    return {
        "create": lambda: service.create_sampling_client(base_model="local/tiny"),
        "step": lambda: trainer.step([datum("ab")], "cross_entropy"),
        "publish": policy.publish,
        "subscribe": lambda: (service.events.subscribe(print), service.events.unsubscribe(print)),
        "sample": lambda: sampler.sample(prompt("a"), 1, GREEDY).result(HANG),
        "cancel": lambda: sampler.sample(prompt("a"), 1, GREEDY).cancel(),
        "map": lambda: list(sampler.map([prompt("a")] * 3, 1, GREEDY, in_flight=2)),
        "pin": lambda: policy.pin().sample(prompt("a"), 1, GREEDY).result(HANG),
        "as_completed": lambda: [
            future.result(HANG)
            for future in concurrent.futures.as_completed([sampler.sample(prompt("a"), 1, GREEDY) for _ in range(3)])
        ],
        "asyncio": lambda: loop.run_until_complete(gathered()),
        "service": lambda: ta.ServiceClient(base_url=service._service.config.base_url).close(timeout=0),
        # Of a lane's own: nobody else keeps them, so they are made and ended each time.
        "other service": lambda: ta.ServiceClient(
            base_url=service._service.config.base_url, config=ta.Config(seed=next(names))
        ).close(timeout=0),
        "tree": service.tree,
        "ask": lambda: service.actor_ref.ask(Describe(), timeout=HANG),
        "proxy": lambda: (
            sampler.proxy().sample(prompt("a"), 1, GREEDY).map(str).join(trainer.proxy().done()).get(timeout=HANG)
        ),
        "tree by proxy": lambda: service.proxy().tree().get(timeout=HANG),
        "save": lambda: trainer.save_state(f"now{next(names)}").result(HANG),
    }


@pytest.mark.parametrize(
    "what",
    [
        "create",
        "step",
        "publish",
        "subscribe",
        "sample",
        "cancel",
        "map",
        "pin",
        "service",
        "other service",
        "tree",
        "ask",
        "proxy",
        "tree by proxy",
    ],
)
def test_a_call_is_interrupted_by_the_same_call(tight, loop, what):
    call = calls(tight, tight.create_lora_training_client("local/tiny", rank=2, seed=0), loop)[what]
    race(call, call)
    budget = tight._service.lanes.queue_budget
    tight.close(timeout=0)
    eventually(lambda: (budget.held, budget.holders, budget.waiting) == (0, 0, 0))


@pytest.mark.parametrize(
    "what",
    [
        "sample",
        "map",
        "as_completed",
        "asyncio",
        "step",
        "cancel",
        "service",
        "other service",
        "tree",
        "ask",
        "proxy",
        "tree by proxy",
    ],
)
def test_a_handler_waits_for_a_save_whatever_it_interrupted(service, loop, what):
    trainer = service.create_lora_training_client("local/tiny", rank=2, seed=0)
    found = calls(service, trainer, loop)
    race(found[what], found["save"], every=0.01)


def test_a_handler_samples_while_the_main_thread_stands_in_line(tight, loop):
    found = calls(tight, tight.create_lora_training_client("local/tiny", rank=2, seed=0), loop)
    race(found["map"], found["sample"])
