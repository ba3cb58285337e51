"""What waits for the server takes a time to wait, and keeps to it when the server says nothing."""

from __future__ import annotations

import asyncio
import gc
import inspect
import socket
import time

import pytest

import tinker_actors as ta

from .conftest import HANG
from .helpers import datum, eventually

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
