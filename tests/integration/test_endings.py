"""Actors are ended by pykka's means with real threads and a real server, and so is a service whose server is dead."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gc
import os
import signal
import threading
import time
import weakref

import pytest

import tinker_actors as ta

from .conftest import HANG
from .helpers import datum, eventually, prompt

PARAMS = ta.SamplingParams(max_tokens=2, stop=[])

STOPS = {
    "stop": lambda ref: ref.stop(timeout=HANG),
    "stop without waiting": lambda ref: ref.stop(block=False),
    "proxy": lambda ref: ref.proxy().stop(),
}
POINTS = ["creating", "busy", "idle", "closing"]


def used(service):
    """Use a service; return its trainer, its sampler and the futures of all that was called."""
    trainer = service.create_lora_training_client("local/tiny", rank=4)
    sampler = service.create_sampling_client(base_model="local/tiny")
    policy = trainer.policy("main")
    futures = [trainer._ready, sampler._ready, trainer._get_info_future(), sampler._get_base_model_future()]
    for _ in range(4):
        futures += [trainer.forward_backward([datum()], "cross_entropy"), trainer.optim_step()]
        futures += [sampler.sample(prompt("a"), 1, PARAMS)]
    futures += [policy.publish(), policy.sample(prompt("b"), 1, PARAMS), service._get_server_capabilities_future()]
    return trainer, sampler, futures


def reach(point, service, futures):
    """Come to a point in the life of what was made."""
    if point == "busy":
        concurrent.futures.wait(futures[:6], timeout=HANG, return_when=concurrent.futures.FIRST_COMPLETED)
    elif point == "idle":
        concurrent.futures.wait(futures, timeout=HANG)
    elif point == "closing":
        threading.Thread(target=service.close).start()
        eventually(lambda: service.closed)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("kind", ["training", "sampling", "session", "registry", "keeper", "supervisor"])
def test_whatever_is_stopped_settles_what_it_owes(server, kind, stop, point):
    service = ta.ServiceClient(base_url=server.url, config=ta.Config(tags=(f"{kind} {stop} {point}",)))
    inside = service._service
    trainer, sampler, futures = used(service)
    refs = {
        "training": trainer.actor_ref,
        "sampling": sampler.actor_ref,
        "session": inside.session,
        "registry": inside.registry,
        "keeper": inside.lanes.keeper,
        "supervisor": service.actor_ref,
    }
    reach(point, service, futures)
    with contextlib.suppress(Exception if point == "closing" else ()):  # it may have ended by now
        STOPS[stop](refs[kind])
    assert not concurrent.futures.wait(futures, timeout=HANG).not_done
    eventually(lambda: not refs[kind].is_alive())
    with contextlib.suppress(ta.TinkerError):
        late = [trainer.optim_step(), sampler.sample(prompt("c"), 1, PARAMS)]
        assert not concurrent.futures.wait(late, timeout=HANG).not_done
    service.close()
    assert inside.over.done()
    eventually(lambda: not any(ref.is_alive() for ref in [*refs.values(), *inside.lanes.refs.values()]))
    for future in futures:
        future._looked_at = True


def test_a_caller_that_waits_for_room_is_woken_by_the_end_of_the_supervisor(server):
    config = ta.Config(queue_bytes=1, max_block=10 * HANG)
    service = ta.ServiceClient(base_url=server.url, config=config)
    sampler = service.create_sampling_client(base_model="local/tiny")
    first = sampler.sample(prompt("a"), 1, ta.SamplingParams(max_tokens=100_000, stop=[]))
    errors = []

    def wait():
        try:
            sampler.sample(prompt("b"), 1, PARAMS)
        except ta.TinkerError as error:
            errors.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    eventually(lambda: service._service.lanes.queue_budget.waiting or first.done())
    service.actor_ref.stop(timeout=HANG)
    waiting.join(HANG)
    assert not waiting.is_alive()
    assert isinstance(first.exception(HANG), ta.ClientClosedError)
    assert service.closed


@pytest.mark.parametrize("by", ["handle", "proxy"])
def test_leaving_the_block_finishes_what_was_called_through_handles_that_are_gone(server, by):
    def work(service):
        trainer = service.create_lora_training_client("local/tiny", rank=4)
        sampler = trainer.save_weights_and_get_sampling_client()
        policy = trainer.policy("main")
        if by == "proxy":
            trainer, sampler = trainer.proxy(), sampler.proxy()
        for _ in range(3):
            trainer.forward_backward([datum()], "cross_entropy")
            trainer.optim_step()
        view = sampler if by == "proxy" else sampler.with_options(priority="eval")
        return [
            view.sample(prompt("a"), 1, PARAMS),
            policy.publish(),
            policy.sample(prompt("b"), 1, PARAMS),
            trainer.proxy().get_info() if by == "handle" else trainer.get_info(),
            sampler.proxy().get_base_model() if by == "handle" else sampler.get_base_model(),
            trainer.save_state("kept"),
            service._get_server_capabilities_future(),
        ]

    with ta.ServiceClient(base_url=server.url) as service:
        futures = work(service)
        gc.collect()
    assert all(future.done() for future in futures)
    assert [future.exception(0) for future in futures] == [None] * len(futures)


def test_what_a_service_that_was_dropped_had_been_asked_for_is_finished(server):
    def work():
        trainer = ta.ServiceClient(base_url=server.url).create_lora_training_client("local/tiny", rank=4)
        trainer.forward_backward([datum()], "cross_entropy")
        return trainer.optim_step()

    future = work()
    gc.collect()
    assert future.result(HANG)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill", "suspend"])
@pytest.mark.parametrize("timeout", [0.0, 1.5])
def test_closing_keeps_its_time_when_the_server_is_dead(how, timeout):
    with ta.local_server() as server:
        service = ta.ServiceClient(base_url=server.url)
        trainer = service.create_lora_training_client("local/tiny", rank=4).result(HANG)
        if how == "kill":
            server.kill()
        else:
            os.kill(server.pid, signal.SIGSTOP)
        future = trainer.optim_step()
        began = time.monotonic()
        service.close(timeout=timeout)
        took = time.monotonic() - began
        if how == "suspend":
            os.kill(server.pid, signal.SIGCONT)
        assert isinstance(future.exception(0), ta.ClientClosedError)
        assert not service.actor_ref.is_alive()
        assert service._service.over.done()
        assert took < 10 * (timeout + 1.0), "a guard: no default of ten or thirty seconds was waited for"


def test_a_closed_service_is_freed_at_once(server):
    """Its next heartbeat would be due in an hour."""
    config = ta.Config(heartbeat_interval=3600.0, tags=("alone",))
    with ta.ServiceClient(base_url=server.url, config=config) as service:
        service.create_lora_training_client("local/tiny", rank=4).optim_step()
        alive = [weakref.ref(service._service), weakref.ref(service.actor_ref.actor_inbox._actor)]
    del service

    def freed():
        gc.collect()
        return not any(each() for each in alive)

    eventually(freed)
