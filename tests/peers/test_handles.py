"""Handles cross the border: the official SDK reads ours, and we read its own."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path

import pytest

import tinker_actors as ta

SDK = os.environ.get("PEER_SDK_38")
PROGRAM = Path(__file__).with_name("handle_program.py")
HANG = 120.0

pytestmark = pytest.mark.skipif(not SDK, reason="PEER_SDK_38 names no Python with the official SDK 0.38")


def test_either_side_samples_by_a_handle_of_the_other(tmp_path):
    with ta.local_server() as server, ta.ServiceClient(base_url=server.url) as service:
        sampler = service.create_sampling_client(base_model="local/tiny")
        ours = sampler.get_sampler_handle()
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),  # no credentials but the key
            "TINKER_BASE_URL": server.url,
            "TINKER_API_KEY": "tml-peer",
            "TINKER_TELEMETRY": "0",
        }
        with subprocess.Popen(
            [Path(str(SDK)).absolute(), PROGRAM],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as peer:  # fmt: skip
            assert peer.stdin is not None
            assert peer.stdout is not None
            peer.stdin.write(f"{ours}\n")
            peer.stdin.flush()
            got = json.loads(peer.stdout.readline())
            copied = service.create_sampling_client_from_handle(got["handle"])
            params = ta.SamplingParams(max_tokens=4, temperature=0.0, stop=[])
            response = copied.sample(ta.ModelInput.from_ints([104, 101, 108]), 1, params).result(HANG)
            number = copied._lease.entry().clone_id
            peer.stdin.close()
            assert peer.wait(HANG) == 0
    assert got["by_our_handle"] == got["by_itself"] == list(response.sequences[0].tokens)
    assert got["base_model"] == "local/tiny"
    assert number == 1
    assert shape(ours) == shape(got["handle"])


def shape(handle: str) -> tuple[set[str], set[str]]:
    """The names in a handle."""
    read = json.loads(base64.urlsafe_b64decode(handle))
    return set(read), set(read["holder"])
