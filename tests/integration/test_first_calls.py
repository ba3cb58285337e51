"""What a first call loads is loaded whole, whatever interrupts that: a handler that makes the same call, or Ctrl-C."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tinker_actors as ta

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).parent / "first_calls.py"
CALLS = (
    "service", "names", "train", "forward", "policy", "handle", "from handle", "copy", "map of a future",
    "map of a sampler", "proxy of the service", "proxy of the trainer", "proxy of the sampler", "wrong name",
)  # fmt: skip


@pytest.fixture(scope="module")
def handle(server):
    with ta.ServiceClient(base_url=server.url) as service:
        yield service.create_sampling_client(base_model="local/tiny").get_sampler_handle()


STRIDES = {"handler": 31, "interrupt": 31, "loading": 1}
# What the result of a forward needs is loaded by a lane.
CASES = [(call, how) for how in STRIDES for call in CALLS if (call, how) != ("forward", "loading")]


@pytest.mark.parametrize(("call", "how"), CASES)
def test_the_first_call_is_interrupted(server, handle, call, how):
    command = [sys.executable, str(PROGRAM), server.url, call, how, str(STRIDES[how]), handle]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each for each in told if each["wrong"]] == []
    assert [each for each in told if each["where"]]
