"""Threads, secrets and lifetimes of a process with several clients."""

from __future__ import annotations

import gc
import logging
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from queue import Queue

import pytest

import tinker_actors as ta

from .conftest import HANG
from .helpers import eventually, prompt

ROOT = Path(__file__).parents[2]
CANARY = "tml-canary-8f2a61c0"


def own_threads(besides=()):
    """Names of the package's threads, without those that were there before: earlier tests may have left some."""
    return sorted(t.name for t in set(threading.enumerate()) - set(besides) if t.name.startswith("tinker-actors"))


def test_three_service_clients_share_their_lanes(server):
    before = threading.enumerate()
    services = [ta.ServiceClient(base_url=server.url) for _ in range(3)]
    samplers = [service.create_sampling_client(base_model="local/tiny") for service in services]
    futures = [s.sample(prompt("a"), 1, ta.SamplingParams(max_tokens=2)) for s in samplers for _ in range(20)]
    assert all(future.result(HANG) for future in futures)
    lanes = [name for name in own_threads(before) if name.endswith("-lane")]
    assert len(lanes) == 3
    assert len([name for name in own_threads(before) if "connector" not in name]) <= 5
    for service in services:
        service.close()
    eventually(lambda: not [name for name in own_threads(before) if name.endswith("-lane")])


def test_the_key_is_in_no_repr_log_error_or_pickle(server, caplog):
    caplog.set_level(logging.DEBUG)
    seen: list[str] = []
    with ta.ServiceClient(base_url=server.url, api_key=CANARY) as service:
        service.events.subscribe(lambda event: seen.append(repr(event)))
        trainer = service.create_lora_training_client("no/such")
        error = trainer._ready.exception(HANG)
        seen += [repr(service), repr(trainer), str(service.tree()), repr(error), str(error), repr(error.__dict__)]
        seen.append(repr(service._service.config))
        seen.append(repr(pickle.dumps(error)) + repr(pickle.dumps(service._service.config)))
    assert CANARY not in " ".join(seen) + caplog.text


def test_a_program_that_forgets_to_close_ends_all_the_same(server):
    program = f"""
import tinker_actors as ta
service = ta.ServiceClient(base_url={server.url!r})
sampler = service.create_sampling_client(base_model="local/tiny")
sample = sampler.sample(ta.ModelInput.from_ints([1]), 1, ta.SamplingParams(max_tokens=3, stop=[]))
print(len(sample.result(60).sequences))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "1", "")


def test_a_finished_sample_is_freed_without_the_cycle_collector(server):
    with ta.ServiceClient(base_url=server.url) as service:
        sampler = service.create_sampling_client(base_model="local/tiny").result(HANG)
        gc.collect()
        gc.disable()
        try:
            future = sampler.sample(prompt("a"), 1, ta.SamplingParams(max_tokens=2, stop=[]))
            future.result(HANG)
            gone = weakref.ref(future)
            del future
            eventually(lambda: gone() is None)  # the lane may still be on its way out of the call that settled it
        finally:
            gc.enable()


def test_a_service_is_not_closed_from_a_callback_which_would_wait_for_itself(service):
    seen = Queue()

    def close(_):
        try:
            service.close()
        except ta.WouldDeadlockError as error:
            seen.put(error)

    service.create_sampling_client(base_model="local/tiny").add_done_callback(close)
    assert seen.get(timeout=HANG)
    assert not service.closed
    assert service.create_sampling_client(base_model="local/tiny").result(HANG), "and it goes on"


def test_an_interrupt_while_closing_ends_the_waiting_and_the_service():
    service = ta.ServiceClient(base_url="http://127.0.0.1:1")
    waiting = service.create_lora_training_client("local/tiny").optim_step()

    def interrupt():
        eventually(lambda: service.closed)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        service.close(timeout=math.inf)
    assert service.closed
    assert service._service.over.done()
    assert isinstance(waiting.exception(0), ta.ClientClosedError)
    service.close()


def test_closing_may_wait_without_end(server):
    service = ta.ServiceClient(base_url=server.url)
    future = service.create_sampling_client(base_model="local/tiny").sample(
        prompt("a"), 1, ta.SamplingParams(max_tokens=2)
    )
    service.close(timeout=math.inf)
    assert future.result(0)
