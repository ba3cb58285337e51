"""A driver for the service core: requests as Python values, jobs run when told, a clock that is set by hand."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from tinker_actors.local.core import CoreRequest, Hold, Limits, ServiceCore
from tinker_actors.local.core.access.authentication import Access
from tinker_actors.local.ledger import LEDGER_NAME, LedgerEngine
from tinker_actors.local.store.memory import MemoryStore

TOKENS = [1, 2, 3]
EPOCH = 1_800_000_000.0
"""Seconds since 1970 when the driver's clock was at 0."""


class Driver:
    """One core, its store, and the time."""

    def __init__(
        self,
        limits: Limits | None = None,
        store: MemoryStore | None = None,
        ids: str = "id",
        access: Access | None = None,
    ) -> None:
        count = itertools.count()
        self.store = store or MemoryStore()
        self.core = ServiceCore(LedgerEngine(), self.store, limits, lambda: f"{ids}{next(count)}", access, EPOCH)
        self.now = 100.0
        self.key: str | None = None

    def raw(self, path: str, body: bytes = b"", method: str = "POST", **headers: str) -> Any:
        if self.key is not None:
            headers = {"x-api-key": self.key, **headers}
        return self.core.handle(CoreRequest(method, f"/api/v1/{path}", headers, body), self.now)

    def call(self, path: str, body: Any = None, method: str = "POST") -> tuple[int, Any]:
        answer = self.raw(path, b"" if body is None else json.dumps(body).encode(), method)
        assert not isinstance(answer, Hold), "the request is held"
        return answer.status, json.loads(answer.body)

    def good(self, path: str, body: Any = None, method: str = "POST") -> Any:
        status, said = self.call(path, body, method)
        assert status == 200, said
        return said

    def submit(self, path: str, body: Any) -> str:
        return self.good(path, body)["request_id"]

    def poll(self, request_id: str, *, metadata: bool = False) -> Any:
        body = {"request_id": request_id, "allow_metadata_only": metadata}
        return self.raw("retrieve_future", json.dumps(body).encode())

    def result(self, request_id: str) -> Any:
        answer = self.poll(request_id)
        assert not isinstance(answer, Hold), f"{request_id} is not decided"
        assert answer.status == 200, answer.body
        return json.loads(answer.body)

    def work(self, *kinds: str) -> int:
        """Run jobs until there are none, and return how many there were."""
        done = 0
        for kind in kinds or ("train", "sample"):
            while (job := self.core.next_job(kind)) is not None:
                self.core.finish(job, job.run(), self.now)
                done += 1
        return done

    def get(self, path: str) -> Any:
        return self.good(path, None, "GET")

    def saved(self, model: str, seq_id: int, name: str, *, sampler: bool = False, **fields: Any) -> str:
        """Save a checkpoint of a model and return its path."""
        operation = "save_weights_for_sampler" if sampler else "save_weights"
        request_id = self.submit(operation, {"model_id": model, "seq_id": seq_id, "path": name, **fields})
        self.work("train")
        return self.result(request_id)["path"]

    def session(self) -> str:
        return self.good("create_session", {"tags": [], "user_metadata": None, "sdk_version": "0"})["session_id"]

    def model(self, session: str | None = None, number: int = 0, **fields: Any) -> str:
        body = {
            "session_id": session or self.session(),
            "model_seq_id": number,
            "base_model": LEDGER_NAME,
            "lora_config": {"rank": 4, "seed": 1},
        }
        request_id = self.submit("create_model", {**body, **fields})
        self.work("train")
        return self.result(request_id)["model_id"]

    def sampler(self, session: str | None = None, number: int = 0, **fields: Any) -> str:
        where = fields or {"base_model": LEDGER_NAME}
        body = {"session_id": session or self.session(), "sampling_session_seq_id": number, **where}
        return self.good("create_sampling_session", body)["sampling_session_id"]


def datum(tokens: list[int] | None = None, **inputs: Any) -> dict[str, Any]:
    tokens = TOKENS if tokens is None else tokens
    given = {
        "target_tokens": {"data": tokens, "dtype": "int64", "shape": [len(tokens)]},
        "weights": {"data": [1.0] * len(tokens), "dtype": "float32", "shape": [len(tokens)]},
        **inputs,
    }
    kept = {name: value for name, value in given.items() if value is not None}
    return {"model_input": {"chunks": [{"tokens": tokens, "type": "encoded_text"}]}, "loss_fn_inputs": kept}


def forward_backward(
    model: str, seq_id: int | None, *data: dict[str, Any], loss: str = "cross_entropy"
) -> dict[str, Any]:
    given = {"data": list(data) or [datum()], "loss_fn": loss}
    return {"model_id": model, "seq_id": seq_id, "forward_backward_input": given}


def optim_step(model: str, seq_id: int | None) -> dict[str, Any]:
    return {"model_id": model, "seq_id": seq_id, "adam_params": {"learning_rate": 0.1}, "type": "optim_step"}


def sample(sampler: str | None, seq_id: int | None = 0, **fields: Any) -> dict[str, Any]:
    return {
        "sampling_session_id": sampler,
        "seq_id": seq_id,
        "prompt": {"chunks": [{"tokens": TOKENS, "type": "encoded_text"}]},
        "sampling_params": {"max_tokens": 4},
        "num_samples": 1,
        **fields,
    }


class Bodies:
    """The request bodies above, for tests."""

    datum = staticmethod(datum)
    forward_backward = staticmethod(forward_backward)
    optim_step = staticmethod(optim_step)
    sample = staticmethod(sample)


@pytest.fixture
def bodies() -> type[Bodies]:
    return Bodies


@pytest.fixture
def make_driver() -> type[Driver]:
    return Driver


@pytest.fixture
def driver() -> Driver:
    return Driver()
