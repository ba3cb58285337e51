"""Requests for things that are kept, on a server with 1 GiB of memory: it keeps so much and no more."""

from __future__ import annotations

import json

import pytest
import requests
import zstandard

from .attacking import SAMPLE, SmallServer, filled, good, post, session, unhurt

METADATA = b'{"tags": [], "sdk_version": "0", "user_metadata": {"a": [%s 0]}}'


@pytest.fixture(scope="module")
def server():
    with SmallServer() as running:
        yield running


def test_models_of_the_largest_rank(server):
    """A hundred bytes ask for nine megabytes, and for four times that once the model is trained."""
    with unhurt(server):
        mine = {"session_id": session(server), "base_model": "local/tiny", "lora_config": {"rank": 1024}}
        found = [
            post(server, "create_model", json.dumps({**mine, "model_seq_id": number}).encode()) for number in range(250)
        ]
        assert found[0] == 200
        assert found[-1] == 403
        assert found == sorted(found)
        good(server, f"sessions/{mine['session_id']}/finish", {"reason": {"type": "success"}})


@pytest.mark.parametrize(("unit", "count"), [(b"[],", 30), (b'"",', 150), (b'"%b",' % (b"x" * 4096), 200)])
def test_metadata_that_would_be_kept(server, unit, count):
    """They are kept as long as the server runs, also when their session is over."""
    packed = zstandard.ZstdCompressor().compress(METADATA % filled(unit, 4_000_000))
    with unhurt(server):
        for _ in range(count):
            assert post(server, "create_session", packed, content_encoding="zstd") == 413


def test_samples_that_list_much(server):
    """A request of four kilobytes asks for a hundred thousand pairs of a token and its log-probability."""
    body = {
        **SAMPLE,
        "base_model": "local/tiny",
        "prompt": {"chunks": [{"tokens": [1] * 2000}]},
        "topk_prompt_logprobs": 64,
        "prompt_logprobs": True,
        "sampling_params": {"max_tokens": 1},
    }
    with unhurt(server):
        asked = [good(server, "asample", body)["request_id"] for _ in range(30)]
        for request_id in asked[-2:]:
            said = b'{"type":"try_again"'
            while said.startswith(b'{"type":"try_again"'):
                answer = requests.post(
                    f"{server.url}/api/v1/retrieve_future", json={"request_id": request_id}, timeout=60
                )
                said = answer.content
            assert said.startswith(b'{"type":"sample"')
