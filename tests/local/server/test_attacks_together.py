"""All attacks at the same time, on a server with 1 GiB of memory: what each may take is a share of it."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import pytest
import requests
import zstandard

from tinker_actors.local.process import LocalServer

from .attacking import SAMPLE, SmallServer, create_model, do, filled, good, post, session, unhurt
from .test_attacks_bodies import JSON, METADATA, PROTOBUF, windowed
from .test_attacks_connections import begun, connected

pytestmark = [pytest.mark.slow, pytest.mark.alone]

SECONDS = 40.0
"""How long each goes on."""

PACKED = zstandard.ZstdCompressor(level=3).compress(METADATA % filled(b"[],", 100_000_000))
WINDOWED = windowed(31, METADATA % b"")
PROTOBUF_TYPE = "application/x-protobuf"
TAKEN = {200, 400, 403, 404, 408, 409, 410, 413, 415, 422, 429, 503}


def asked(server: LocalServer, path: str, body: object) -> requests.Response | None:
    """Ask for something that may be refused, or answered by a closed connection."""
    with contextlib.suppress(requests.ConnectionError):
        return requests.post(f"{server.url}/api/v1/{path}", json=body, timeout=120)
    return None


def refused(answer: requests.Response | None) -> bool:
    return answer is None or answer.status_code != 200


class Visitor:
    """Somebody whose sessions end with him, and with them all that waits in them."""

    def __init__(self, server: LocalServer) -> None:
        self.server = server
        self._sessions: list[str] = []
        self.model = create_model(server, self.session(), 0, rank=32)
        self.number = 0  # the last one used

    def session(self) -> str:
        self._sessions.append(session(self.server))
        return self._sessions[-1]

    def sampler(self) -> str:
        body = {"session_id": self.session(), "sampling_session_seq_id": 0, "base_model": "local/tiny"}
        return good(self.server, "create_sampling_session", body)["sampling_session_id"]

    def leave(self) -> None:
        for each in self._sessions:
            good(self.server, f"sessions/{each}/finish", {"reason": {"type": "success"}})


def metadata(visitor: Visitor, _: int) -> None:
    for packed in (PACKED, WINDOWED):
        assert post(visitor.server, "create_session", packed, content_encoding="zstd") in TAKEN


def messages_of_two_bytes(visitor: Visitor, number: int) -> None:
    bodies = list(PROTOBUF.values())
    assert post(visitor.server, "forward_backward", bodies[number % len(bodies)], PROTOBUF_TYPE) in TAKEN


def training_data_that_become_much(visitor: Visitor, number: int) -> None:
    bodies = list(JSON.values())
    assert post(visitor.server, "forward_backward", bodies[number % len(bodies)]) in TAKEN


def bodies_that_never_end(visitor: Visitor, _: int) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(contextlib.closing(begun(visitor.server, 60_000_000)))


def clients_that_never_read(visitor: Visitor, _: int) -> None:
    many = b"GET /api/v1/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 5000
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(visitor.server)) for _ in range(20)]
        for client in clients:
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError, ConnectionError):
                client.send(many)
        time.sleep(1)


DATUM = {
    "model_input": {"chunks": [{"tokens": [7] * 2000}]},
    "loss_fn_inputs": {"target_tokens": {"data": [7] * 2000, "dtype": "int64", "shape": [2000]}},
}


def passes(count: int) -> dict[str, Any]:
    return {"forward_backward_input": {"data": [DATUM] * count, "loss_fn": "cross_entropy"}}


def operations_that_wait(visitor: Visitor, _: int) -> None:
    """Each is whole, and the number before them never comes."""
    for _ in range(10):
        visitor.number += 1
        body = {"model_id": visitor.model, "seq_id": visitor.number + 1, **passes(200)}
        if refused(asked(visitor.server, "forward_backward", body)):
            visitor.number -= 1
            return


def long_training(visitor: Visitor, _: int) -> None:
    for path, body in (("forward_backward", passes(4)), ("optim_step", {"adam_params": {}})):
        visitor.number += 1
        do(visitor.server, path, {"model_id": visitor.model, "seq_id": visitor.number, **body})


def models_of_the_largest_rank(visitor: Visitor, _: int) -> None:
    mine = {"session_id": visitor.session(), "base_model": "local/tiny", "lora_config": {"rank": 1024}}
    for number in range(250):
        if refused(asked(visitor.server, "create_model", {**mine, "model_seq_id": number})):
            return


def weights_that_are_published(visitor: Visitor, _: int) -> None:
    """And long samples from each of them; some are saved by name."""
    server = visitor.server
    long = {**SAMPLE, "num_samples": 4, "sampling_params": {"max_tokens": 1900, "stop": []}}
    visitor.number += 2
    body = {"model_id": visitor.model, "seq_id": visitor.number - 1, "sampling_session_seq_id": visitor.number}
    sampler = do(server, "save_weights_for_sampler", body)["sampling_session_id"]
    asked(server, "asample", {**long, "sampling_session_id": sampler})
    body = {"model_id": visitor.model, "seq_id": visitor.number, "path": f"v{visitor.number}"}
    path = do(server, "save_weights_for_sampler", body)["path"]
    asked(server, "asample", {**long, "model_path": path})


def samples_that_list_much(visitor: Visitor, _: int) -> None:
    body = {
        **SAMPLE,
        "sampling_session_id": visitor.sampler(),
        "prompt": {"chunks": [{"tokens": [1] * 2000}]},
        "topk_prompt_logprobs": 64,
        "prompt_logprobs": True,
        "sampling_params": {"max_tokens": 1},
    }
    for _ in range(20):
        asked(visitor.server, "asample", body)


def samples_of_many_tokens(visitor: Visitor, _: int) -> None:
    body = {**SAMPLE, "sampling_session_id": visitor.sampler(), "num_samples": 4}
    body["sampling_params"] = {"max_tokens": None, "stop": []}
    for _ in range(100):
        asked(visitor.server, "asample", body)


def sessions_that_say_much(visitor: Visitor, _: int) -> None:
    for _ in range(100):
        body = {"tags": [], "sdk_version": "0", "user_metadata": {"a": "x" * 60_000}}
        answer = asked(visitor.server, "create_session", body)
        if not refused(answer):
            path = f"sessions/{answer.json()['session_id']}/finish"
            asked(visitor.server, path, {"reason": {"type": "success"}})


def streams_that_nobody_reads(visitor: Visitor, _: int) -> None:
    body = {**SAMPLE, "base_model": "local/tiny", "sampling_params": {"max_tokens": 1900, "stop": []}}
    said = json.dumps(body).encode()
    head = "POST /api/v1/stream_sample HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            connection = stack.enter_context(connected(visitor.server))
            connection.sendall(f"{head}Content-Length: {len(said)}\r\n\r\n".encode() + said)
        time.sleep(2)


ATTACKS: list[Callable[[Visitor, int], None]] = [
    metadata, messages_of_two_bytes, training_data_that_become_much, bodies_that_never_end, clients_that_never_read,
    operations_that_wait, long_training, models_of_the_largest_rank, weights_that_are_published,
    samples_that_list_much, samples_of_many_tokens, sessions_that_say_much, streams_that_nobody_reads,
]  # fmt: skip


def go_on(attack: Callable[[Visitor, int], None], visitor: Visitor, end: float, wrong: list[str]) -> None:
    """Attack again and again."""
    try:
        for number in itertools.count():
            if time.monotonic() > end:
                break
            try:
                attack(visitor, number)
            except (AssertionError, requests.ConnectionError):
                continue  # it was refused, here or there: there is no memory left for it
    except BaseException:
        wrong.append(traceback.format_exc())
    visitor.leave()


def test_all_attacks_at_once():
    wrong: list[str] = []
    with SmallServer() as server, unhurt(server):
        visitors = [Visitor(server) for _ in ATTACKS]
        end = time.monotonic() + SECONDS
        threads = [
            threading.Thread(target=go_on, args=(attack, visitor, end, wrong))
            for attack, visitor in zip(ATTACKS, visitors, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
