"""Thousands of mutated requests: every one is answered, none with a 500, and the server is well afterwards.

Valid bodies of every route are mutated by a seed; a failure names the request, which is the whole reproduction.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import re
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest

from tinker_actors.local.core import CoreRequest, Failure, Hold, Limits, ServiceCore
from tinker_actors.local.core.rest_routes import REST_ROUTES
from tinker_actors.local.core.router import ROUTES
from tinker_actors.local.core.streams import Stream
from tinker_actors.local.ledger import LEDGER_NAME, LedgerEngine
from tinker_actors.local.process import LocalServer
from tinker_actors.local.store.files import FileStore

MUTANTS = 5000
MUTANTS_ON_SOCKETS = 300
HANG = 60.0

LIMITS = Limits(body_bytes=200_000, samples_per_request=8, batched_sequences=8, hold_seconds=0.05)

ALL_ROUTES = [
    *((method, pattern) for pattern, (method, _) in ROUTES.items()),
    *((method, pattern) for method, pattern, _ in REST_ROUTES),
]
QUERIES = ["", "?limit=2&offset=0", "?limit=-1", "?offset=99999999999999999999", "?limit=x", "?cursor=%00", "?a=b&a=c"]

ODD_VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**53 + 1, -(2**63), 2**63, 2**64, 10**400, 1e308, -1e-320, 0.5, "", "x",
    "\x00", "\ud800", "é" * 300, "../../etc/passwd", "tinker://", "tinker://a/weights/b", "Infinity", [], [[]], [None],
    {}, {"": {}},
    {"type": "nonsense"}, [1, "a", None, {}], "9" * 5000,
]  # fmt: skip
ODD_BODIES = [
    b"", b" ", b"null", b"[]", b"{", b"}", b'"', b"\xff\xfe", b"\x00" * 50, b"NaN", b"1e999", b"[" * 100_000,
    b'{"a":' * 50_000, b"[1]" * 1000, b'{"model_id": "\xc3("}', b"\xef\xbb\xbf{}", b"{}" + b" " * 300_000,
    b'{"a":1,"a":2}',
    b'{"model_id":"x","session_id":"x","seq_id":%b,"model_seq_id":%b}' % (b"9" * 6000, b"9" * 6000),
    b"\x0a\x0fsess-1:train:0\x10\x01", b"\x28\xb5\x2f\xfd\x00",
]  # fmt: skip
ODD_HEADERS = [
    {"content-type": "application/x-protobuf"}, {"content-type": "text/html"}, {"content-type": ""},
    {"content-encoding": "zstd"}, {"content-encoding": "gzip, deflate"}, {"accept": "application/x-protobuf"},
    {"x-api-key": "tml-" + "a" * 5000}, {"x-tinker-request-type": "Nonsense"}, {"x-idempotency-key": "\u00e9"},
    {"range": "bytes=-1"}, {"range": "bytes=9999999999999-"}, {"authorization": "Bearer eyJ.eyJ.x"},
]  # fmt: skip
ODD_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW", ""]
ODD_PATHS = [
    "", "/", "//", "/api", "/api/v1", "/api/v1/", "/api/v1//optim_step", "/api/v1/optim_step/", "/api/v1/%",
    "/api/v1/%ff%00", "/api/v1/samplers/" + "a/" * 500, "/api/v1/samplers/%2e%2e%2f", "*", "\u00e9",
    "/api/v1/optim_step?x=%zz&" + "a" * 5000,
]  # fmt: skip


class Ids:
    """A session with a model and samplers on some server, for bodies that are valid."""

    session = model = sampler = checkpoint = request = ""


def tensor(values: list[Any], dtype: str) -> dict[str, Any]:
    return {"data": values, "dtype": dtype, "shape": [len(values)]}


def valid_bodies(ids: Ids, seq_id: int) -> dict[str, Any]:
    """A valid body for each route that has a fixed one; all others get `{}`."""
    datum = {
        "model_input": {"chunks": [{"type": "encoded_text", "tokens": [1, 2, 3]}]},
        "loss_fn_inputs": {"target_tokens": tensor([2, 3, 4], "int64"), "weights": tensor([1.0, 1.0, 1.0], "float32")},
    }
    passes = {"data": [datum], "loss_fn": "cross_entropy", "loss_fn_config": {"x": 1.0}}
    numbered = {"model_id": ids.model, "seq_id": seq_id}
    lora = {"rank": 4, "seed": 1, "train_mlp": True, "train_attn": True, "train_unembed": True}
    adam = {"learning_rate": 0.1, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.0, "grad_clip_norm": 0.0}
    params = {"max_tokens": 4, "seed": 1, "stop": ["a"], "temperature": 1.0, "top_k": -1, "top_p": 1.0}
    prompt = {"chunks": [{"type": "encoded_text", "tokens": [1, 2, 3]}]}
    return {
        "client/config": {"sdk_version": "0.38.0"},
        "telemetry": {"session_id": ids.session, "events": [], "platform": "x", "sdk_version": "0"},
        "create_session": {"tags": ["a"], "user_metadata": {"a": "b"}, "sdk_version": "0", "type": "create_session"},
        "session_heartbeat": {"session_id": ids.session, "type": "session_heartbeat"},
        "sessions/{}/finish": {"reason": {"type": "success"}, "detail": None},
        "create_model": {
            "session_id": ids.session, "model_seq_id": seq_id, "base_model": LEDGER_NAME, "user_metadata": None,
            "lora_config": lora, "optimizer_config": {"type": "adamw"}, "type": "create_model",
        },
        "get_info": {"model_id": ids.model, "type": "get_info"},
        "unload_model": {"model_id": f"{ids.session}:train:9", "type": "unload_model"},
        "forward": {**numbered, "forward_input": passes},
        "forward_backward": {**numbered, "forward_backward_input": passes},
        "optim_step": {**numbered, "adam_params": adam, "type": "optim_step"},
        "save_weights": {**numbered, "path": f"s{seq_id}", "ttl_seconds": 3600, "type": "save_weights"},
        "load_weights": {**numbered, "path": ids.checkpoint, "optimizer": True, "type": "load_weights"},
        "save_weights_for_sampler": {**numbered, "path": None, "sampling_session_seq_id": seq_id, "ttl_seconds": None},
        "weights_info": {"tinker_path": ids.checkpoint},
        "create_sampling_session": {
            "session_id": ids.session, "sampling_session_seq_id": seq_id, "base_model": LEDGER_NAME, "model_path": None,
        },
        "asample": {
            "sampling_session_id": ids.sampler, "seq_id": seq_id, "num_samples": 2, "prompt": prompt,
            "sampling_params": params, "prompt_logprobs": True, "topk_prompt_logprobs": 2, "type": "sample",
        },
        "join_sampling_session": {"sampling_session_id": ids.sampler},
        "stream_sample": {
            "sampling_session_id": ids.sampler, "seq_id": seq_id, "num_samples": 1, "prompt": prompt,
            "sampling_params": params, "type": "sample",
        },
        "sessions/search": {"owner": {"type": "own"}, "limit": 5, "cursor": None, "statuses": [{"type": "active"}]},
        "sessions/{}/project": {"project_id": "p"},
        "training_runs/{}/checkpoints/{ckpt}/ttl": {"ttl_seconds": 3600},
        "copy_weights": {"session_id": ids.session, "model_seq_id": seq_id, "source_path": ids.checkpoint},
        "retrieve_future": {"request_id": ids.request, "allow_metadata_only": True},
        "retrieve_futures": {
            "sampling_session_id": ids.sampler, "prev_cursor": 0, "retrieved_request_ids": [], "timeout": 0,
        },
        "cancel_future": {"request_id": ids.request},
    }  # fmt: skip


class Mutator:
    """Draws requests by a seed: mostly a valid one with one to three things wrong with it."""

    def __init__(self, seed: int, ids: Ids) -> None:
        self._random = random.Random(seed)
        self._ids = ids

    def request(self, seq_id: int) -> CoreRequest:
        draw = self._random
        method, pattern = draw.choice(ALL_ROUTES)
        fillers = [self._ids.session, self._ids.sampler, self._ids.model, "weights/kept", "x", "%00", "..", ""]
        path = "/api/v1/" + re.sub(r"\{[^}]*\}", lambda _: draw.choice(fillers), pattern)
        path += draw.choice(QUERIES) if method == "GET" else ""
        headers = {"content-type": "application/json", "accept": "application/json"}
        value = valid_bodies(self._ids, seq_id).get(pattern, {})
        for _ in range(draw.randint(1, 3)):
            value = self._mutated(value)
        body = b"" if method == "GET" else self._encoded(value)
        if draw.random() < 0.05:
            method = draw.choice(ODD_METHODS)
        if draw.random() < 0.05:
            path = draw.choice(ODD_PATHS)
        if draw.random() < 0.1:
            headers |= draw.choice(ODD_HEADERS)
        return CoreRequest(method, path, headers, body)

    def _encoded(self, value: Any) -> bytes:
        draw = self._random
        body = json.dumps(value, ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass")
        kind = draw.random()
        if kind < 0.08:
            return body[: draw.randrange(len(body) + 1)]
        if kind < 0.16 and body:
            at = draw.randrange(len(body))
            return body[:at] + draw.randbytes(draw.randint(1, 4)) + body[at + 1 :]
        return draw.choice(ODD_BODIES) if kind < 0.22 else body

    def _mutated(self, value: Any) -> Any:
        """Return the value with one thing changed, somewhere in it."""
        draw = self._random
        if isinstance(value, dict) and value and draw.random() < 0.9:
            key = draw.choice(list(value))
            changed = dict(value)
            kind = draw.random()
            if kind < 0.1:
                del changed[key]
            elif kind < 0.2:
                changed[draw.choice(["extra", "", "type", "seq_id", key + "_"])] = draw.choice(ODD_VALUES)
            else:
                changed[key] = self._mutated(value[key])
            return changed
        if isinstance(value, list) and value and draw.random() < 0.8:
            at = draw.randrange(len(value))
            kind = draw.random()
            if kind < 0.2:
                return value[:at] + value[at + 1 :]
            if kind < 0.3:
                return value * draw.choice([2, 100])
            return [*value[:at], self._mutated(value[at]), *value[at + 1 :]]
        if draw.random() < 0.05:
            return self._nested(draw.choice([50, 2000]))
        return draw.choice(ODD_VALUES)

    def _nested(self, depth: int) -> Any:
        value: Any = 1
        for _ in range(depth if depth < 500 else 400):
            value = [value] if self._random.random() < 0.5 else {"a": value}
        return value


class CoreDriver:
    """A core, driven on this thread. Whatever it raises fails the test."""

    def __init__(self, store: FileStore) -> None:
        count = itertools.count()
        self.core = ServiceCore(LedgerEngine(), store, LIMITS, lambda: f"id{next(count)}")
        self.now = 100.0
        self.broken_jobs: list[tuple[str, Failure]] = []

    def send(self, request: CoreRequest) -> tuple[int, bytes]:
        answer = self.core.handle(request, self.now)
        self.work()
        if isinstance(answer, Stream):
            assert self.core.take_events(answer)[1], "a stream goes on when there is nothing left to do"
            return 200, b"{}"
        if isinstance(answer, Hold):
            resumed = self.core.resume(answer, answer.deadline)
            assert resumed is not None, "a hold goes on past its deadline"
            answer = resumed
        return answer.status, bytes(answer.body)

    def work(self) -> None:
        for kind in ("train", "sample"):
            for _ in range(10_000):
                job = self.core.next_job(kind)
                if job is None:
                    break
                result = job.run()
                if isinstance(result, Failure) and result.category == "server":
                    self.broken_jobs.append((job.name, result))
                self.core.finish(job, result, self.now)

    def post(self, path: str, body: Any) -> dict[str, Any]:
        status, said = self.send(CoreRequest("POST", f"/api/v1/{path}", {}, json.dumps(body).encode()))
        assert status == 200, said
        return json.loads(said)


def prepared(post: Any) -> Ids:
    """Make a session with everything that valid bodies speak of."""
    ids = Ids()
    ids.session = post("create_session", {"tags": []})["session_id"]
    body = {"session_id": ids.session, "model_seq_id": 0, "base_model": LEDGER_NAME, "lora_config": {"rank": 4}}
    ids.model = post("retrieve_future", {"request_id": post("create_model", body)["request_id"]})["model_id"]
    ids.request = post("save_weights", {"model_id": ids.model, "seq_id": 1, "path": "kept"})["request_id"]
    ids.checkpoint = post("retrieve_future", {"request_id": ids.request})["path"]
    body = {"session_id": ids.session, "sampling_session_seq_id": 0, "base_model": LEDGER_NAME}
    ids.sampler = post("create_sampling_session", body)["sampling_session_id"]
    return ids


def works(post: Any) -> None:
    """Train a step and draw a sample, as if nothing had happened."""
    ids = prepared(post)
    bodies = valid_bodies(ids, 2)
    for number, path in enumerate(["forward_backward", "optim_step", "asample"], start=2):
        request_id = post(path, {**bodies[path], "seq_id": number})["request_id"]
        said = post("retrieve_future", {"request_id": request_id, "allow_metadata_only": False})
        assert "error" not in said, said
        assert said["type"] in ("forward_backward", "optim_step", "sample")


def shown(request: CoreRequest) -> str:
    return f"{request.method} {request.path[:200]} {dict(request.headers)} {request.body[:2000]!r}"


@pytest.fixture
def store(tmp_path):
    with contextlib.closing(FileStore(tmp_path)) as opened:
        yield opened


def test_mutated_requests_are_all_answered_by_the_core_and_none_with_500(store):
    driver = CoreDriver(store)
    ids = prepared(driver.post)
    mutator = Mutator(20_260, ids)
    statuses: dict[int, int] = {}
    seq_id = 2
    for number in range(MUTANTS):
        request = mutator.request(seq_id)
        try:
            status, said = driver.send(request)
        except Exception as error:
            raise AssertionError(f"mutant {number}, {shown(request)}: {error!r}") from error
        assert status < 500, f"mutant {number}, {shown(request)}: {status} {said[:500]!r}"
        assert not driver.broken_jobs, f"mutant {number}, {shown(request)}: {driver.broken_jobs}"
        statuses[status] = statuses.get(status, 0) + 1
        seq_id += status == 200
        if driver.core.state.sessions.is_gone(ids.session):  # a mutant was a valid request to finish it
            vars(ids).update(vars(prepared(driver.post)))
        if number % 500 == 499:
            works(driver.post)
    # A fuzz that only ever hears one refusal tests nothing behind it.
    assert {200, 400, 404, 405, 409, 413, 422} <= set(statuses), statuses
    assert statuses[200] > MUTANTS / 20, statuses


@pytest.fixture(scope="module")
def server():
    limits = {"body_bytes": LIMITS.body_bytes, "samples_per_request": 8, "hold_seconds": 0.05}
    with LocalServer(engine="ledger", limits=limits) as running:
        yield running


class SocketDriver:
    """A server, spoken to in bytes: no HTTP library would send what is sent here."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._address = (address.hostname, address.port)

    def send(self, request: CoreRequest) -> tuple[int, bytes]:
        lines = [f"{request.method} {request.path} HTTP/1.1", "host: localhost", "connection: close"]
        lines += [f"content-length: {len(request.body)}"]
        headers = {"content-type": "application/json", **request.headers}
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return self.exchange("\r\n".join([*lines, "", ""]).encode() + request.body)

    def exchange(self, sent: bytes, *, end: bool = False) -> tuple[int, bytes]:
        """Send bytes and return status and body; a connection closed without an answer counts as status 0.

        Args:
            sent: the request.
            end: whether to say that no more will come; a server may then drop a request that it holds.
        """
        with socket.create_connection(self._address, timeout=HANG) as connection:
            answer = b""
            try:
                connection.sendall(sent)
                if end:
                    with contextlib.suppress(OSError):  # the server has ended it already
                        connection.shutdown(socket.SHUT_WR)
                while piece := connection.recv(65_536):
                    answer += piece
            except ConnectionError:
                pass  # a server may stop reading what it has refused
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]) if head else 0, body

    def post(self, path: str, body: Any) -> dict[str, Any]:
        said: dict[str, Any] = {"type": "try_again"}
        for _ in range(1000):
            status, answer = self.send(CoreRequest("POST", f"/api/v1/{path}", {}, json.dumps(body).encode()))
            assert status == 200, answer
            said = json.loads(answer)
            if said.get("type") != "try_again":
                break
        return said


def test_mutated_requests_through_sockets_leave_the_server_alive(server):
    driver = SocketDriver(server.url)
    mutator = Mutator(38, prepared(driver.post))
    for number in range(MUTANTS_ON_SOCKETS):
        request = mutator.request(number + 2)
        status, said = driver.send(request)
        assert status < 500, f"mutant {number}, {shown(request)}: {status} {said[:500]!r}"
    works(driver.post)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /api/v1/optim_step HTTP/1.1\r\nhost: localhost\r\n",
        b"POST /api/v1/optim_step HTTP/1.1\r\nhost: localhost\r\ncontent-length: -5\r\n\r\n{}",
        b"POST /api/v1/optim_step HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n\r\n{}",
        b"POST /api/v1/optim_step HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999999999999\r\n\r\n{}",
        b"POST /api/v1/optim_step HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST /api/v1/optim_step HTTP/1.1\r\nhost: [::1]\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
        b"GET /api/v1/healthz HTTP/1.1\r\nhost: localhost\r\nx: " + b"a" * 200_000 + b"\r\n\r\n",
        b"GET /api/v1/healthz HTTP/1.1\r\nhost: localhost\r\n" + b"a: b\r\n" * 5_000 + b"\r\n",
        b"GET /api/v1/healthz HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        b"GET http://elsewhere/api/v1/healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        bytes(range(256)) * 10,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500,
    ],
)
def test_what_is_hardly_http_is_answered_or_closed_and_the_server_lives_on(server, sent):
    driver = SocketDriver(server.url)
    assert driver.exchange(sent, end=True)[0] < 500
    status, said = driver.send(CoreRequest("GET", "/api/v1/healthz"))
    assert (status, json.loads(said)["status"]) == (200, "ok")
