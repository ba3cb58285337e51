"""What waits for the server takes a time to wait, and keeps to it when the server says nothing."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import inspect
import re
import socket
import time

import pytest

import tinker_actors as ta

from .conftest import HANG
from .helpers import bad_datum, datum, eventually

SOON = 0.05


@pytest.fixture
def silent():
    """A service whose server takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        service = ta.ServiceClient(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}")
        yield service
        service.close(timeout=0)


WAITING = {
    "capabilities": lambda service: (service, "get_server_capabilities"),
    "info": lambda service: (service.create_lora_training_client("local/tiny"), "get_info"),
    "sampler's model": lambda service: (service.create_sampling_client(base_model="local/tiny"), "get_base_model"),
    "handle": lambda service: (service.create_sampling_client(base_model="local/tiny"), "get_sampler_handle"),
    "policy's model": lambda service: (policy(service), "get_base_model"),
    "pin's model": lambda service: (policy(service).pin(), "get_base_model"),
}


def policy(service):
    return service.create_lora_training_client("local/tiny").policy("main")


@pytest.mark.parametrize("what", WAITING)
def test_the_time_to_wait_is_kept(silent, what, caplog):
    client, name = WAITING[what](silent)
    with pytest.raises(ta.DeadlineExceededError):
        getattr(client, name)(timeout=SOON)
    with pytest.raises(ta.DeadlineExceededError):
        asyncio.run(getattr(client, f"{name}_async")(timeout=SOON))
    eventually(lambda: not silent._service.questions)  # closing waits for none of them
    silent.close(timeout=0)
    gc.collect()
    assert "get_" not in caplog.text  # whoever gave up was told, and nobody else could look


@pytest.mark.parametrize("kind", [ta.ServiceClient, ta.TrainingClient, ta.SamplingClient, ta.Policy, ta.PinnedPolicy])
def test_whatever_returns_what_the_server_says_takes_a_timeout(kind):
    asking = [getattr(kind, name) for name in dir(kind) if name.startswith("get_")]
    assert asking
    assert all("timeout" in inspect.signature(method).parameters for method in asking)


def test_what_is_done_has_been_done_since_it_was(trainer):
    began = time.monotonic()
    future = trainer.forward([datum()], "cross_entropy")
    future.result(HANG)
    progress = future.progress()
    assert (progress.reason, progress.detail) == ("done", "")
    assert began < progress.since <= time.monotonic()
    assert future.progress() == progress


def test_the_server_of_local_starts_beside_an_event_loop():
    """The way that the documentation shows: the loop goes on meanwhile."""

    async def program():
        turns = 0
        made = asyncio.create_task(asyncio.to_thread(ta.ServiceClient, base_url="local:"))
        while not made.done():
            await asyncio.sleep(0.001)
            turns += 1
        async with made.result() as service:
            await service.create_sampling_client_async(base_model="local/tiny")
        return turns

    assert asyncio.run(program()) > 3


def test_a_future_says_what_it_is_of_and_how_it_stands(service, trainer):
    sampler = service.create_sampling_client(base_model="local/tiny")
    sample = sampler.sample([104], 1, {"max_tokens": 300, "stop": []})
    assert re.fullmatch(r"<APIFuture of sample: .+>", repr(sample))
    sample.result(HANG)
    assert repr(sample) == "<APIFuture of sample: done>"
    cancelled = sampler.sample([104], 1, {"max_tokens": 300, "stop": []})
    cancelled.cancel()
    assert repr(cancelled) == "<APIFuture of sample: cancelled>"
    failed = trainer.forward([bad_datum()], "cross_entropy")
    concurrent.futures.wait([failed], HANG)
    assert repr(failed).startswith("<APIFuture of forward: failed: RequestFailedError(")
    assert not failed._looked_at
    with pytest.raises(ta.RequestFailedError):
        failed.result()


def test_who_waits_too_long_hears_what_was_in_the_way():
    with ta.local_server(engine="ledger") as server:
        service = ta.ServiceClient(base_url=server.url)
        sampler = service.create_sampling_client(base_model="local/ledger").result(HANG)
        server.kill()
        sample = sampler.sample([1], 1, {"max_tokens": 1})
        eventually(lambda: "Connection refused" in sample.progress().detail)
        with pytest.raises(ta.DeadlineExceededError, match=r"No result of sample within 0\.01 s .*Connection refused"):
            sample.result(0.01)
        service.close(timeout=0)


def test_a_base_model_that_is_given_as_a_path_is_seen(service):
    with pytest.raises(ta.InvalidInputError, match="pass base_model='local/tiny'"):
        service.create_sampling_client("local/tiny")
