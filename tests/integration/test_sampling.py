"""Sampling end to end on the embedded server."""

from __future__ import annotations

import asyncio
import gc
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor

import psutil
import pykka
import pytest

import tinker_actors as ta

from ..pykka_internals import actor_of  # noqa: TID252 - the tests are no package that is installed
from .conftest import HANG
from .helpers import eventually, prompt

GREEDY = ta.SamplingParams(max_tokens=4, temperature=0.0, stop=[])


@pytest.fixture
def sampler(service):
    return service.create_sampling_client(base_model="local/tiny").result(HANG)


def block(ref):
    """Have an actor hang in its next message until the returned event is set."""
    actor, entered, release = actor_of(ref), threading.Event(), threading.Event()
    receive = actor.receive

    def hang(message):
        if message == "hang":
            entered.set()
            release.wait(HANG)
            return None
        return receive(message)

    actor.receive = hang
    ref.tell("hang")
    assert entered.wait(HANG)
    return release


def test_a_thread_pool_samples_through_one_client(sampler):
    with ThreadPoolExecutor(16) as pool:
        responses = list(pool.map(lambda i: sampler.sample(prompt(f"{i}"), 1, GREEDY).result(HANG), range(64)))
    assert all(len(response.sequences[0].tokens) == 4 for response in responses)
    again = sampler.sample(prompt("7"), 1, GREEDY).result(HANG)
    assert again.sequences[0].tokens == responses[7].sequences[0].tokens


def test_a_sampler_can_be_used_before_the_server_has_made_it(service):
    response = service.create_sampling_client(base_model="local/tiny").sample(prompt("hi"), 2, GREEDY).result(HANG)
    assert len(response.sequences) == 2
    assert response.weights_version == 0


def test_logprobs_of_a_prompt_begin_with_none(sampler):
    logprobs = sampler.compute_logprobs(prompt("hello")).result(HANG)
    assert logprobs[0] is None
    assert all(value < 0 for value in logprobs[1:])
    assert len(logprobs) == 5


def test_the_version_of_the_weights_is_said(service):
    trainer = service.create_lora_training_client("local/tiny", rank=2, seed=0)
    from .helpers import datum

    for _ in range(3):
        trainer.forward_backward([datum()], "cross_entropy")
        last = trainer.optim_step()
    sampler = trainer.save_weights_and_get_sampling_client()
    assert sampler.sample(prompt("a"), 1, GREEDY).result(HANG).weights_version == 3
    last.result(HANG)


def test_a_saved_checkpoint_can_be_sampled_from(service):
    trainer = service.create_lora_training_client("local/tiny", rank=2, seed=0)
    path = trainer.save_weights_for_sampler("for-sampling").result(HANG).path
    sampler = trainer.create_sampling_client(path)
    assert sampler.sample(prompt("a"), 1, GREEDY).result(HANG).weights_version is None
    assert sampler.get_base_model() == "local/tiny"


def test_sampling_goes_on_while_the_sampling_and_registry_actors_are_blocked(service, sampler):
    registry = service._service.registry
    release = block(registry)  # all control actors share one thread, so this blocks the sampling actor as well
    try:
        response = sampler.sample(prompt("hello"), 1, GREEDY).result(HANG)
        assert not release.is_set()
    finally:
        release.set()
    assert len(response.sequences[0].tokens) == 4
    assert sampler.actor_ref.is_alive()


def test_cancelling_the_last_awaiting_task_cancels_the_sample(sampler):
    async def main():
        future = sampler.sample(prompt("x"), 64, ta.SamplingParams(max_tokens=1500, stop=[]))
        task = asyncio.ensure_future(future.coroutine())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return future

    future = asyncio.run(main())
    assert future.cancelled()
    with pytest.raises(CancelledError):
        future.result(0)


def test_slow_and_raising_callbacks_delay_no_poll_and_kill_nothing(sampler, caplog):
    release = threading.Event()

    def slow(_):
        release.wait(HANG)

    def raising(_):
        raise SystemExit("from a callback")

    first = sampler.sample(prompt("a"), 1, GREEDY)
    first.add_done_callback(raising)
    first.add_done_callback(slow)
    first.result(HANG)
    try:
        others = [sampler.sample(prompt("b"), 1, GREEDY) for _ in range(20)]
        assert all(future.result(HANG) for future in others)
    finally:
        release.set()
    called = threading.Event()
    sampler.sample(prompt("c"), 1, GREEDY).add_done_callback(lambda _: called.set())
    assert called.wait(HANG)
    assert "from a callback" in caplog.text


@pytest.mark.slow
def test_five_thousand_samplers_leave_nothing_behind(service):
    process = psutil.Process()
    snapshot = service._service.samplers

    def generation(count):
        for _ in range(count):
            service._new_sampler()
        gc.collect()
        eventually(lambda: not snapshot.current)

    service.get_server_capabilities()  # the session is open, and what carries requests has started
    generation(500)  # what is allocated once is allocated now
    threads, memory = threading.active_count(), process.memory_info().rss
    for _ in range(10):
        generation(500)
    assert threading.active_count() <= threads  # idle ones may have ended
    assert not snapshot.current
    eventually(lambda: "2 children" in str(service.tree()))
    assert process.memory_info().rss - memory < 30 * 2**20


def test_the_host_programs_actors_and_ours_leave_each_other_alone(service, sampler):
    class Host(pykka.ThreadingActor):
        def on_receive(self, message):
            raise SystemExit("the host's own trouble")

    host = Host.start()
    pykka.ActorRegistry.broadcast("hello")
    host.actor_stopped.wait(HANG)
    pykka.ActorRegistry.stop_all()
    assert sampler.sample(prompt("still here"), 1, GREEDY).result(HANG)
    assert service.actor_ref not in pykka.ActorRegistry.get_all()
