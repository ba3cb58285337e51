"""Requests for things that are kept, on a server with 1 GiB of memory: it keeps so much and no more."""

from __future__ import annotations

import json

import pytest
import requests
import zstandard

from .attacking import SAMPLE, SmallServer, create_model, do, filled, good, peak, post, serve_somebody, session, unhurt

pytestmark = pytest.mark.slow

METADATA = b'{"tags": [], "sdk_version": "0", "user_metadata": {"a": [%s 0]}}'


JSON_HEADERS = {"content-type": "application/json"}


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


def test_weights_that_are_published_for_ever(server):
    """Each version takes nine megabytes; the newest ones stay, and those who sample from them notice nothing."""
    mine = session(server)
    model = create_model(server, mine, 0, rank=1024)
    count = 60
    with unhurt(server):
        for number in range(1, count + 1):
            body = {"model_id": model, "seq_id": number, "sampling_session_seq_id": number}
            newest = do(server, "save_weights_for_sampler", body)["sampling_session_id"]
            assert len(do(server, "asample", {**SAMPLE, "sampling_session_id": newest})["sequences"]) == 1
        answers = [
            requests.get(f"{server.url}/api/v1/samplers/{mine}:sample:{number}", timeout=60).status_code
            for number in range(1, count + 1)
        ]
        assert answers == sorted(answers, reverse=True)
        assert 4 <= answers.count(200) < count / 2
        good(server, f"sessions/{mine}/finish", {"reason": {"type": "success"}})


def test_versions_of_which_samples_wait(server):
    """What waits does not keep the memory either: the oldest versions are given up with their samples."""
    mine = session(server)
    model = create_model(server, mine, 0, rank=1024)
    long = {**SAMPLE, "sampling_params": {"max_tokens": 400, "stop": []}}
    with unhurt(server):
        waiting = []
        for number in range(1, 41):
            body = {"model_id": model, "seq_id": number, "sampling_session_seq_id": number}
            newest = do(server, "save_weights_for_sampler", body)["sampling_session_id"]
            waiting.append(good(server, "asample", {**long, "sampling_session_id": newest})["request_id"])
        good(server, f"sessions/{mine}/finish", {"reason": {"type": "success"}})
    answers = [
        requests.post(f"{server.url}/api/v1/retrieve_future", json={"request_id": request_id}, timeout=60)
        for request_id in waiting
    ]
    assert {answer.status_code for answer in answers} <= {200, 410}
    assert "newer ones" in answers[0].text or "sequences" in answers[0].text


def test_sessions_that_say_much_and_end():
    """Sixty kilobytes each, remembered when they are over."""
    said = {"a": "x" * 60_000}
    body = json.dumps({"tags": [], "sdk_version": "0", "user_metadata": said}).encode()
    with SmallServer(limits={"past_bytes": 2**21}) as server, requests.Session() as http:
        serve_somebody(server)
        before = peak(server)
        with unhurt(server):
            for _ in range(800):
                answer = http.post(f"{server.url}/api/v1/create_session", data=body, headers=JSON_HEADERS, timeout=60)
                finish = f"{server.url}/api/v1/sessions/{answer.json()['session_id']}/finish"
                assert http.post(finish, json={"reason": {"type": "success"}}, timeout=60).status_code == 200
        assert peak(server) - before < 24 * 1024  # half of what was said
