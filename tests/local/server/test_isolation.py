"""One owner's long work on a real server, while another asks for little."""

from __future__ import annotations

import time

import pytest
import requests

from tinker_actors.local.process import LocalServer

from .attacking import SmallServer

pytestmark = [pytest.mark.slow, pytest.mark.alone]

KEYS = {"tml-ann": "ann", "tml-bob": "bob"}


class Owner:
    def __init__(self, url: str, key: str) -> None:
        self._url = f"{url}/api/v1"
        self._http = requests.Session()
        self._http.headers["x-api-key"] = key
        self.session = self.post("create_session", {"tags": [], "sdk_version": "0"})["session_id"]
        body = {"session_id": self.session, "sampling_session_seq_id": 0, "base_model": "local/tiny"}
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


LONG = [7] * 1900


def long_samples(owner):
    return [owner.submit(number, 1900) for number in range(100)]


def long_prompts(owner):
    return [owner.submit(number, 1, LONG) for number in range(200)]


def growing_prompts(owner):
    return [owner.submit(number, 40, LONG[: 200 + number]) for number in range(300)]


def training(owner):
    body = {"session_id": owner.session, "model_seq_id": 0, "base_model": "local/tiny", "lora_config": {"rank": 4}}
    model = owner.result(owner.post("create_model", body)["request_id"])["model_id"]
    targets = {"data": LONG, "dtype": "int64", "shape": [len(LONG)]}
    datum = {"model_input": {"chunks": [{"tokens": LONG}]}, "loss_fn_inputs": {"target_tokens": targets}}
    given = {"data": [datum] * 16, "loss_fn": "cross_entropy"}
    return [
        owner.post("forward_backward", {"model_id": model, "seq_id": number, "forward_backward_input": given})[
            "request_id"
        ]
        for number in range(1, 8)
    ]


@pytest.mark.parametrize("kind", [LocalServer, SmallServer])
@pytest.mark.parametrize("work", [long_samples, long_prompts, growing_prompts, training])
def test_nothing_that_an_owner_asks_for_keeps_another_waiting_for_its_end(kind, work):
    """Also where there is little memory, so that one waits for what the other computes."""
    with kind(api_keys=KEYS, limits={"hold_seconds": 1}) as server:
        ann, bob = Owner(server.url, "tml-ann"), Owner(server.url, "tml-bob")
        bob.result(bob.submit(0, 5))
        asked = work(ann)
        for number in range(1, 4):
            begun = time.monotonic()
            assert len(bob.result(bob.submit(number, 5))["sequences"]) == 1
            assert time.monotonic() - begun < 20
        last = ann.post("retrieve_future", {"request_id": asked[-1], "allow_metadata_only": False})
        assert last.get("type") == "try_again", "there was nothing to wait for"


def test_odd_numbers_in_a_batch_are_their_owners_own():
    """What is as large as it can be is drawn with the others, and means what it says; what is larger is refused."""
    most = 2**63 - 1
    odd = [{"top_k": most}, {"seed": most}, {"seed": -(2**63)}, {"temperature": 1e308}, {"temperature": 1e-308}]
    odd += [{"top_p": 1e-308}, {"top_p": 1.0 - 2**-53}, {"top_k": 260}, {"temperature": 0.0, "top_k": 1}]
    refused = [{"top_k": most + 1}, {"temperature": -1.0}, {"top_p": 2.0}, {"stop": [most]}, {"max_tokens": most + 1}]
    with LocalServer(api_keys=KEYS) as server:
        ann, bob = Owner(server.url, "tml-ann"), Owner(server.url, "tml-bob")
        alone = bob.result(bob.submit(0, 200))
        theirs, mine = [], []
        for number, params in enumerate(odd):
            theirs.append(ann.submit(number, 300, **params))
            mine.append(bob.submit(number + 1, 200, seed=0))
            if number < len(refused):
                with pytest.raises(AssertionError, match="(?i)" + next(iter(refused[number]))):
                    ann.submit(100 + number, **{"length": 300, **refused[number]})
        for each in mine:
            assert bob.result(each)["sequences"][0]["tokens"] == alone["sequences"][0]["tokens"]
        for each in theirs:
            assert len(ann.result(each)["sequences"][0]["tokens"]) == 300
