"""Ctrl-C at any line of a call: nothing is lost, nothing is left undecided, and closing again closes."""

from __future__ import annotations

import itertools
import threading

import pytest

import tinker_actors as ta
from tinker_actors.clients.admission import OVERHEAD

from ..interrupting import Interrupter, every_line  # noqa: TID252 - the tests are no package that is installed
from .conftest import HANG
from .helpers import datum, eventually, prompt

GREEDY = ta.SamplingParams(max_tokens=2, temperature=0.0, stop=[])


@pytest.fixture
def sampler(service):
    sampler = service.create_sampling_client(base_model="local/tiny")
    sampler.sample(prompt("warm"), 1, GREEDY).result(HANG)  # what is loaded with the first use is loaded
    return sampler


def nothing_is_left(service):
    lanes = service._service.lanes
    budget = lanes.queue_budget
    eventually(lambda: not lanes.under_way(service._service.link) and (budget.held, budget.holders) == (0, 0))
    assert budget.waiting == 0


def test_sampling(service, sampler):
    for interrupter in every_line():
        future = interrupter.run(lambda: sampler.sample(prompt("a"), 1, GREEDY))
        if future is not None:
            assert future.result(HANG).sequences
    nothing_is_left(service)
    assert sampler.sample(prompt("a"), 1, GREEDY).result(HANG).sequences


def test_cancelling(service, sampler):
    for interrupter in every_line():
        future = sampler.sample(prompt("a"), 1, ta.SamplingParams(max_tokens=200, stop=[]))
        heard = threading.Event()
        future.add_done_callback(lambda _, heard=heard: heard.set())
        interrupter.run(future.cancel)
        assert heard.wait(HANG), interrupter.where
        assert future.done()
    nothing_is_left(service)


def test_sampling_with_a_full_budget(server):
    """The thread stands in line for room when it comes."""
    config = ta.Config(queue_bytes=OVERHEAD + 300, max_block=HANG)
    with ta.ServiceClient(base_url=server.url, config=config) as service:
        sampler = service.create_sampling_client(base_model="local/tiny")
        sampler.sample(prompt("warm"), 1, GREEDY).result(HANG)
        budget = service._service.lanes.queue_budget
        for interrupter in every_line():
            first = sampler.sample(prompt("a"), 1, GREEDY)  # it leaves soon, and makes room
            future = interrupter.run(lambda: sampler.sample(prompt("b"), 1, GREEDY))
            assert first.result(HANG).sequences
            if future is not None:
                assert future.result(HANG).sequences
            nothing_is_left(service)
        assert budget.waiting == 0


@pytest.mark.parametrize("what", ["step", "publish", "sampler", "pin", "view", "subscribe", "map", "save"])
def test_other_calls(service, what):
    trainer = service.create_lora_training_client("local/tiny", rank=2, seed=0)
    policy = trainer.policy("main")
    policy.publish().result(HANG)
    names = itertools.count()

    def use():
        if what == "step":
            return trainer.step([datum("abc")], "cross_entropy").result(HANG)
        if what == "publish":
            return policy.publish().result(HANG)
        if what == "sampler":
            return service.create_sampling_client(base_model="local/tiny").sample(prompt("a"), 1, GREEDY).result(HANG)
        if what == "pin":
            with policy.pin() as pinned:
                return pinned.sample(prompt("a"), 1, GREEDY).result(HANG)
        if what == "view":
            return policy.with_options(timeout=HANG).sample(prompt("a"), 1, GREEDY).result(HANG)
        if what == "subscribe":
            service.events.subscribe(list)
            return service.events.unsubscribe(list)
        if what == "map":
            return [response for _, response in policy.map([prompt("a"), prompt("b")], 1, GREEDY)]
        return trainer.save_weights_for_sampler(f"x{next(names)}").result(HANG)

    use()
    for interrupter in every_line():
        interrupter.run(use)
    service._service.lanes.queue_budget.admit()
    nothing_is_left(service)
    assert trainer.step([datum("abc")], "cross_entropy").result(HANG).metrics
    version = policy.publish().result(HANG)
    assert policy.sample(prompt("a"), 1, GREEDY).result(HANG).weights_version == version


def test_closing(server):
    """The second `close()` closes, whatever the first one was doing."""
    for interrupter in every_line():
        service = ta.ServiceClient(base_url=server.url)
        future = service.create_sampling_client(base_model="local/tiny").sample(prompt("a"), 1, GREEDY)
        interrupter.run(service.close)
        service.close(timeout=HANG)
        assert service.closed
        assert service._service.over.done(), interrupter.where
        assert not service.actor_ref.is_alive()
        eventually(future.done)


def test_leaving_a_block(server):
    for interrupter in every_line():
        service = ta.ServiceClient(base_url=server.url)
        with service:
            pass_ = interrupter  # the block itself is not what is interrupted
        del pass_
        interrupter.run(service.close)
        assert service._service.over.done()


def test_the_interrupter_interrupts_each_line_once():
    def call():
        number = 0
        for _ in range(5):
            number += 1
        return number

    lines = []
    for interrupter in every_line(__file__):
        assert interrupter.run(call) in (None, 5)
        lines.append(interrupter.where)
    assert lines[-1] is None
    assert len(lines) == 14
    assert isinstance(interrupter, Interrupter)
