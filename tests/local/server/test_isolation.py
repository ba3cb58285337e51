"""One owner's long work on a real server, while another asks for little."""

from __future__ import annotations

import time

import pytest
import requests

from tinker_actors.local.process import LocalServer

pytestmark = [pytest.mark.slow, pytest.mark.alone]

KEYS = {"tml-ann": "ann", "tml-bob": "bob"}


class Owner:
    def __init__(self, url: str, key: str) -> None:
        self._url = f"{url}/api/v1"
        self._http = requests.Session()
        self._http.headers["x-api-key"] = key
        session = self.post("create_session", {"tags": [], "sdk_version": "0"})["session_id"]
        body = {"session_id": session, "sampling_session_seq_id": 0, "base_model": "local/tiny"}
        self.sampler = self.post("create_sampling_session", body)["sampling_session_id"]

    def post(self, path, body):
        answer = self._http.post(f"{self._url}/{path}", json=body, timeout=120)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def submit(self, number, length, tokens=(1, 2, 3), **params):
        body = {
            "sampling_session_id": self.sampler,
            "seq_id": number,
            "prompt": {"chunks": [{"tokens": list(tokens)}]},
            "sampling_params": {"max_tokens": length, "stop": [], "seed": number, **params},
        }
        return self.post("asample", body)["request_id"]

    def result(self, request_id):
        while True:
            said = self.post("retrieve_future", {"request_id": request_id, "allow_metadata_only": False})
            if said.get("type") != "try_again":
                return said


def test_a_little_sample_does_not_wait_for_another_owners_long_ones():
    with LocalServer(api_keys=KEYS) as server:
        ann, bob = Owner(server.url, "tml-ann"), Owner(server.url, "tml-bob")
        begun = time.monotonic()
        bob.result(bob.submit(0, 5))
        alone = time.monotonic() - begun
        long = [ann.submit(number, 1900) for number in range(300)]
        begun = time.monotonic()
        for number in range(1, 6):
            bob.result(bob.submit(number, 5))
        between = (time.monotonic() - begun) / 5
        assert between < 2 + 20 * alone
        said = ann.post("retrieve_futures", {"target": {"sampling_session_id": ann.sampler}, "timeout": 0})
        assert len(said["completions"]) < len(long), "there was nothing to wait for"
