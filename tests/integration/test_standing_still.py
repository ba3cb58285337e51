"""Processes that are stopped for longer than every limit, and go on as if nothing had happened."""

from __future__ import annotations

import json
import pathlib
import signal
import subprocess
import sys
import threading

import pytest

from .between import Between
from .conftest import HANG

pytestmark = pytest.mark.slow

WORKER = pathlib.Path(__file__).with_name("stopped_worker.py")
# Longer than the worker's limits of 1.5 s, so that whoever judges by time alone gives up.
STOPPED = 4.0


@pytest.fixture
def slow(server):
    """The embedded server, whose results are held back until `go_on` is set."""
    go_on = threading.Event()

    def spoil(asked):
        kind = asked.headers.get("x-tinker-request-type")
        if kind in ("ForwardBackward", "Sample") and not go_on.wait(0.2):
            asked.status, asked.content_type = 408, "application/json"
            asked.answer = json.dumps({"type": "try_again", "queue_state": "active"}).encode()

    with Between(server.url, spoil) as between:
        yield between, go_on


@pytest.fixture
def worker(slow):
    """Return what starts the worker, and see to its end."""
    started = []

    def start(how):
        process = subprocess.Popen(
            [sys.executable, str(WORKER), slow[0].url, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.communicate()


@pytest.mark.parametrize("how", ["stop", "jump"])
def test_work_goes_on_after_the_process_stood_still_or_its_clock_jumped_an_hour(slow, worker, how):
    _, go_on = slow
    process = worker(how)
    if how == "stop":
        process.send_signal(signal.SIGSTOP)
        threading.Event().wait(STOPPED)
        process.send_signal(signal.SIGCONT)
    threading.Timer(0.5, go_on.set).start()
    said = process.communicate("\n", timeout=HANG)[0].splitlines()
    assert said == [f"{what} passes" for what in ("gradient", "sample", "later sample", "later step", "new sampler")]


def test_a_server_that_is_gone_is_still_found_out_in_time(slow, worker):
    between, go_on = slow
    process = worker("stop")
    between.spoil = lambda asked: go_on.wait(HANG)  # no more answers, to heartbeats neither
    said = process.communicate("\n", timeout=HANG)[0].splitlines()
    go_on.set()
    assert len(said) == 5
    assert all("SessionLostError" in line or "StalledError" in line for line in said), said
