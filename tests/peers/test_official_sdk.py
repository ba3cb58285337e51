"""The judge: a program written for the official SDK, run by the SDK itself, in two versions, against our server."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from pathlib import Path

import pytest

from tinker_actors.local.process import local_server

PROGRAM = Path(__file__).with_name("official_program.py")
VERSIONS = {"PEER_SDK_38": "0.38.0", "PEER_SDK_15": "0.15.0"}
SDKS = [name for name in VERSIONS if os.environ.get(name)]
HANG = 600.0
KEY = "tml-judge"

SERVERS = {
    "plain": ({}, "0"),
    # Telemetry is sent, keys are changed for tokens by the version that can, and every result is announced first.
    "strict": ({"api_keys": {KEY: "judge"}, "jwt": True, "limits": {"inline_result_bytes": 100}}, "1"),
}


@functools.cache
def seen(sdk: str, server: str) -> dict:
    """What the program saw when it ran under a version of the SDK."""
    options, telemetry = SERVERS[server]
    with local_server(**options) as running:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(running.data_dir),  # no credentials but the key
            "TINKER_BASE_URL": running.url,
            "TINKER_API_KEY": KEY,
            "TINKER_TELEMETRY": telemetry,
        }
        python = Path(os.environ[sdk]).absolute()
        command = [python, PROGRAM]
        done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=HANG)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("sdk", SDKS)
def test_the_official_sdk_can_not_tell(sdk, server):
    got = seen(sdk, server)
    assert got["sdk"] == VERSIONS[sdk]
    assert len(got["losses"]) == 10
    assert got["losses"][-1] < 0.1 * got["losses"][0]
    assert got["checkpoints"] == ["sampler_weights/for-sampling", "weights/half-way"]


@pytest.mark.skipif(len(SDKS) < len(VERSIONS), reason="one of the two versions of the SDK is not there")
def test_both_dialects_bring_the_same_numbers():
    new, old = (seen(sdk, "plain") for sdk in VERSIONS)
    assert new["losses"] == old["losses"]
    assert new["completion"] == old["completion"]
