"""Thousands of mutated requests: every one is answered, none with a 500, and the server is well afterwards.

Valid bodies of every route are mutated by a seed; a failure names the request, which is the whole reproduction. What
can't be reached through a model that only keeps accounts is tried with one that computes.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tinker_actors.local.core import CoreRequest, Failure, Hold, ServiceCore
from tinker_actors.local.core.ports import Engine
from tinker_actors.local.core.samples.streams import Stream
from tinker_actors.local.engine.tiny import TINY_NAME
from tinker_actors.local.ledger import LEDGER_NAME, LedgerEngine
from tinker_actors.local.numpy_engine import NumpyEngine
from tinker_actors.local.process import LocalServer
from tinker_actors.local.store.files import FileStore

from .mutating import ALL_ROUTES, LIMITS, Ids, Mutator, valid_bodies

pytestmark = pytest.mark.slow

SEEDS = range(6)
MUTANTS = {LEDGER_NAME: 2500, TINY_NAME: 500}
"""Of each seed, by the model that they speak of."""

MUTANTS_ON_SOCKETS = 300
MOST_SECONDS = 20.0
"""Until an answer; most take a thousandth of one."""


class CoreDriver:
    """A core, driven on this thread. Whatever it raises fails the test."""

    def __init__(self, store: FileStore, engine: Engine) -> None:
        count = itertools.count()
        self.core = ServiceCore(engine, store, LIMITS, lambda: f"id{next(count)}")
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


def prepared(post: Any, base_model: str) -> Ids:
    """Make a session with everything that valid bodies speak of."""
    ids = Ids()
    ids.base_model = base_model
    ids.session = post("create_session", {"tags": []})["session_id"]
    body = {"session_id": ids.session, "model_seq_id": 0, "base_model": base_model, "lora_config": {"rank": 4}}
    ids.model = post("retrieve_future", {"request_id": post("create_model", body)["request_id"]})["model_id"]
    ids.request = post("save_weights", {"model_id": ids.model, "seq_id": 1, "path": "kept"})["request_id"]
    ids.checkpoint = post("retrieve_future", {"request_id": ids.request})["path"]
    body = {"session_id": ids.session, "sampling_session_seq_id": 0, "base_model": base_model}
    ids.sampler = post("create_sampling_session", body)["sampling_session_id"]
    return ids


def works(post: Any, base_model: str) -> None:
    """Train a step and draw a sample, as if nothing had happened."""
    ids = prepared(post, base_model)
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


@contextlib.contextmanager
def soon() -> Iterator[None]:
    """Let what takes too long fail where it is."""

    def late(*_: object) -> None:
        raise TimeoutError(f"there is no answer after {MOST_SECONDS:g} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("base_model", MUTANTS)
def test_mutated_requests_are_all_answered_by_the_core_and_none_with_500(store, base_model, seed):
    driver = CoreDriver(store, LedgerEngine() if base_model == LEDGER_NAME else NumpyEngine())
    ids = prepared(driver.post, base_model)
    mutator = Mutator(seed, ids)
    statuses: dict[int, int] = {}
    seq_id = 2
    for number in range(MUTANTS[base_model]):
        request = mutator.request(seq_id)
        try:
            with soon():
                status, said = driver.send(request)
        except BaseException as error:
            raise AssertionError(f"mutant {number}, {shown(request)}: {error!r}") from error
        assert status < 500, f"mutant {number}, {shown(request)}: {status} {said[:500]!r}"
        assert not driver.broken_jobs, f"mutant {number}, {shown(request)}: {driver.broken_jobs}"
        statuses[status] = statuses.get(status, 0) + 1
        seq_id += status == 200
        if driver.core.state.sessions.is_gone(ids.session):  # a mutant was a valid request to finish it
            vars(ids).update(vars(prepared(driver.post, base_model)))
        if number % 250 == 249:
            works(driver.post, base_model)
    # A fuzz that only ever hears one refusal tests nothing behind it.
    assert {200, 400, 404, 405, 409, 422} <= set(statuses), statuses
    assert statuses[200] > MUTANTS[base_model] / 20, statuses


HUGE = [10**400, 10**300, 2**63, -(2**63) - 1]


@pytest.mark.parametrize("path", valid_bodies(Ids(), 2))
def test_huge_integers_anywhere_are_answered_and_leave_nothing_that_fails_later(store, path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)  # hundreds of saves, none of which has to survive
    driver = CoreDriver(store, LedgerEngine())
    for place, huge in itertools.product(leaves(valid_bodies(Ids(), 2)[path]), HUGE):
        ids = prepared(driver.post, LEDGER_NAME)
        method, pattern = next(route for route in ALL_ROUTES if route[1] == path and route[0] != "GET")
        body = json.dumps(replaced(valid_bodies(ids, 2)[path], place, huge)).encode()
        target = f"/api/v1/{pattern.replace('{ckpt}', 'weights/kept').replace('{}', ids.model)}"
        status, said = driver.send(CoreRequest(method, target, {}, body))
        assert status < 500, (place, huge, said)
        assert not driver.broken_jobs, (place, huge)
        if status == 200 and "request_id" in json.loads(said) and path in ("create_model", "load_weights"):
            made = driver.post("retrieve_future", {"request_id": json.loads(said)["request_id"]})
            saved = driver.post("save_weights", {"model_id": made.get("model_id", ids.model), "path": "late"})
            assert driver.post("retrieve_future", saved)["type"] == "save_weights", (place, huge)


def leaves(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where the plain values in a body are, and the first ones of its lists."""
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from leaves(part, (*place, key))
    elif isinstance(value, list) and value:
        yield from leaves(value[0], (*place, 0))
    else:
        yield place


def replaced(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    """Return a body with another value in one place."""
    if not place:
        return new
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[place[0]] = replaced(value[place[0]], place[1:], new)
    return changed


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
        with socket.create_connection(self._address, timeout=MOST_SECONDS) as connection:
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


@pytest.mark.parametrize("seed", range(3))
def test_mutated_requests_through_sockets_leave_the_server_alive(server, seed):
    driver = SocketDriver(server.url)
    mutator = Mutator(seed, prepared(driver.post, LEDGER_NAME))
    for number in range(MUTANTS_ON_SOCKETS):
        request = mutator.request(number + 2)
        status, said = driver.send(request)
        assert status < 500, f"mutant {number}, {shown(request)}: {status} {said[:500]!r}"
    works(driver.post, LEDGER_NAME)


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
