"""Ctrl-C at any line of a call: nothing is lost, nothing is left undecided, and closing again closes."""

from __future__ import annotations

import contextlib
import gc
import itertools
import signal
import threading

import pytest

import tinker_actors as ta
from tinker_actors.actors.lane import keeper
from tinker_actors.clients import closing, lifetime, local_door
from tinker_actors.clients import service as service_module
from tinker_actors.clients.admission import OVERHEAD

from ..interrupting import PACKAGE, Interrupter, every_line  # noqa: TID252 - the tests are no package that is installed
from .conftest import HANG
from .helpers import datum, eventually, prompt

pytestmark = pytest.mark.slow

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


def directly(sampler, params):
    return sampler.sample(prompt("a"), 1, params)


def by_proxy(sampler, params):
    proxied = sampler.proxy().sample(prompt("a"), 1, params)
    return proxied.map(lambda response: response).join().map(lambda joined: joined[0])


WAYS = pytest.mark.parametrize("sample", [directly, by_proxy])


@WAYS
def test_sampling(service, sampler, sample):
    sample(sampler, GREEDY).result(HANG)
    for interrupter in every_line():
        future = interrupter.run(lambda: sample(sampler, GREEDY))
        if future is not None:
            assert future.result(HANG).sequences
    nothing_is_left(service)
    assert sampler.sample(prompt("a"), 1, GREEDY).result(HANG).sequences


@WAYS
def test_reading(sampler, sample):
    """Who is interrupted while he reads a result can read it again."""
    sample(sampler, GREEDY).result(HANG)
    for interrupter in every_line():
        future = sample(sampler, GREEDY)
        eventually(future.done)
        interrupter.run(lambda future=future: future.result(HANG))
        assert future.result(0).sequences, interrupter.where


@WAYS
def test_cancelling(service, sampler, sample):
    for interrupter in every_line():
        future = sample(sampler, ta.SamplingParams(max_tokens=200, stop=[]))
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


@pytest.mark.parametrize("error", [None, ValueError("the block's own")])
def test_leaving_a_block(server, error):
    """Wherever the interrupt comes, in the block or on the way out of it, closing again closes."""
    for interrupter in every_line():
        service = ta.ServiceClient(base_url=server.url)
        sampler = service.create_sampling_client(base_model="local/tiny")
        futures = []

        def use(service=service, sampler=sampler, futures=futures):
            with contextlib.suppress(ValueError), service:
                futures.append(sampler.sample(prompt("a"), 1, GREEDY))
                if error is not None:
                    raise error

        interrupter.run(use)
        service.close(timeout=HANG)
        assert service._service.over.done(), interrupter.where
        assert not service.actor_ref.is_alive()
        eventually(lambda futures=futures: all(future.done() for future in futures))
        budget = service._service.lanes.queue_budget
        eventually(lambda budget=budget: (budget.held, budget.holders, budget.waiting) == (0, 0, 0))


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


def eventually_collected(condition):
    """Wait until something is gone that may be held by a cycle."""
    eventually(lambda: condition() or (gc.collect() >= 0 and condition()))


def test_opening_a_service(server):
    """Nothing runs of a service that nobody got: no lanes, no session that is kept alive."""
    before = len(keeper._shared)
    for interrupter in every_line():
        service = interrupter.run(lambda: ta.ServiceClient(base_url=server.url))
        if service is not None:
            service.close()
        del service
        eventually_collected(lambda: len(keeper._shared) <= before)
    eventually(lambda: sum(thread.name.endswith("-lane") for thread in threading.enumerate()) <= 3 * before)


@pytest.fixture
def visits():
    """An embedded server of the `local:` door that is there already, so that a visit is short."""
    with ta.ServiceClient(base_url="local:") as service:
        yield local_door._houses["local:"].visits
        service.close()
    assert not local_door._houses


@pytest.mark.parametrize("module", [local_door, service_module, lifetime, closing])
def test_entering_and_leaving_the_local_door(visits, module):
    """Whoever is interrupted on the way in or out is not counted as inside for ever."""
    for interrupter in every_line(module.__file__):
        interrupter.run(lambda: ta.ServiceClient(base_url="local:").close())
        eventually_collected(lambda: len(visits) == 1)


def test_closing_again_leaves_the_local_door(visits):
    for interrupter in every_line():
        service = ta.ServiceClient(base_url="local:")
        interrupter.run(service.close)
        service.close()
        assert len(visits) == 1, interrupter.where


def test_an_interrupt_while_the_server_of_the_local_door_starts():
    for at in range(0, 60, 7):
        interrupter = Interrupter(at, PACKAGE)
        interrupter.run(lambda: ta.ServiceClient(base_url="local:").close())
        eventually_collected(lambda: not local_door._houses)


def test_a_signal_handler_enters_and_leaves_while_the_server_of_the_local_door_starts_and_stops():
    done = []

    def handle(*_):
        with ta.ServiceClient(base_url="local:") as service:
            done.append(service.get_server_capabilities())

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        for pause in (0.0, 0.2, 0.5, 1.0):
            main = threading.main_thread().ident
            timer = threading.Timer(pause, signal.pthread_kill, (main, signal.SIGUSR1))
            timer.start()
            with ta.ServiceClient(base_url="local:") as service:
                service.get_server_capabilities()
            timer.join()
            eventually(lambda: not local_door._houses)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(done) == 4
