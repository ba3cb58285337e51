"""Real servers in processes of their own, and a client that is nothing but `requests` and JSON."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from tinker_actors.local.process import LocalServer, local_server


class Wire:
    """A session on a server, spoken to in raw JSON."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = requests.Session()
        self.http.trust_env = False
        body = {"tags": [], "user_metadata": None, "sdk_version": "test"}
        self.session = self.good("create_session", body)["session_id"]

    def post(self, path: str, body: Any, timeout: float = 60) -> requests.Response:
        return self.http.post(f"{self.url}/api/v1/{path}", json=body, timeout=timeout)

    def good(self, path: str, body: Any) -> Any:
        answer = self.post(path, body)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return answer.json()

    def submit(self, path: str, body: Any) -> str:
        return self.good(path, body)["request_id"]

    def result(self, request_id: str) -> Any:
        for _ in range(100):
            said = self.good("retrieve_future", {"request_id": request_id, "allow_metadata_only": False})
            if said.get("type") != "try_again":
                return said
        raise AssertionError(f"{request_id} is never decided")

    def do(self, path: str, body: Any) -> Any:
        return self.result(self.submit(path, body))

    def create_model(self, number: int = 0, rank: int = 8) -> str:
        body = {"session_id": self.session, "model_seq_id": number, "base_model": "local/tiny"}
        return self.do("create_model", {**body, "lora_config": {"rank": rank, "seed": 1}})["model_id"]

    def create_sampler(self, number: int, **where: str) -> str:
        body = {"session_id": self.session, "sampling_session_seq_id": number, **where}
        return self.good("create_sampling_session", body)["sampling_session_id"]

    def close(self) -> None:
        self.http.close()


def datum(text: bytes) -> dict[str, Any]:
    targets = list(text[1:])
    return {
        "model_input": {"chunks": [{"tokens": list(text[:-1])}]},
        "loss_fn_inputs": {"target_tokens": {"data": targets, "dtype": "int64", "shape": [len(targets)]}},
    }


def gradient(model: str, seq_id: int, *texts: bytes) -> dict[str, Any]:
    given = {"data": [datum(text) for text in texts], "loss_fn": "cross_entropy"}
    return {"model_id": model, "seq_id": seq_id, "forward_backward_input": given}


def step(model: str, seq_id: int, rate: float = 0.003) -> dict[str, Any]:
    return {"model_id": model, "seq_id": seq_id, "adam_params": {"learning_rate": rate}}


def greedy(sampler: str | None, text: bytes, **fields: Any) -> dict[str, Any]:
    return {
        "sampling_session_id": sampler,
        "prompt": {"chunks": [{"tokens": list(text)}]},
        "sampling_params": {"max_tokens": 6, "temperature": 0, "stop": []},
        **fields,
    }


class Bodies:
    """The request bodies above, for tests."""

    gradient = staticmethod(gradient)
    step = staticmethod(step)
    greedy = staticmethod(greedy)


@pytest.fixture
def bodies() -> type[Bodies]:
    return Bodies


@pytest.fixture(scope="module")
def server():
    with local_server() as running:
        yield running


@pytest.fixture(scope="module")
def ledger_server():
    """A server that holds polls for a moment only, and takes small bodies."""
    with LocalServer(engine="ledger", limits={"hold_seconds": 0.05, "body_bytes": 10_000}) as running:
        yield running


@pytest.fixture
def connect():
    wires = []

    def start(to: LocalServer) -> Wire:
        wires.append(Wire(to.url))
        return wires[-1]

    yield start
    for wire in wires:
        wire.close()


@pytest.fixture
def wire(connect, server):
    return connect(server)
