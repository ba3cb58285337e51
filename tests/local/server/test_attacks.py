"""Small requests against a real server: while each attack lasts it answers others at once, and stays within 1 GiB."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from pathlib import Path
from typing import Self

import pytest
import requests
import zstandard

from tinker_actors.local.process import LocalServer, local_server
from tinker_actors.protocol.codec.protobuf.schema import messages

GIB = 2**20  # in KiB, as the kernel counts
SLOWEST = 10.0
"""Ten times what an answer may take: other programs run on this machine too."""


@pytest.fixture
def server():
    with local_server() as running:
        yield running


class Watch:
    """Asks for the server's health again and again, from a thread."""

    def __init__(self, url: str) -> None:
        self.slowest = 0.0
        self.asked = 0
        self._url = f"{url}/api/v1/healthz"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        with requests.Session() as http:
            while not self._over.wait(0.02):
                begun = time.monotonic()
                assert http.get(self._url, timeout=60).status_code == 200
                self.asked += 1
                self.slowest = max(self.slowest, time.monotonic() - begun)


@contextlib.contextmanager
def unhurt(server: LocalServer):
    """Check that the server answers and stays small, in the block and after it."""
    with Watch(server.url) as watch:
        yield
    assert watch.slowest < SLOWEST
    assert requests.get(f"{server.url}/api/v1/healthz", timeout=SLOWEST).status_code == 200
    lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    assert peak < GIB, f"{peak >> 10} MiB"


def post(server: LocalServer, path: str, body: bytes, kind: str = "application/json", **headers: str) -> int:
    given = {"content-type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}
    try:
        return requests.post(f"{server.url}/api/v1/{path}", data=body, headers=given, timeout=120).status_code
    except requests.ConnectionError:
        return 413  # it was refused before it was sent whole


def together(*calls) -> list[int]:
    """Make calls at the same time."""
    found: list[int] = []
    threads = [threading.Thread(target=lambda call=call: found.append(call())) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def filled(unit: bytes, size: int) -> bytes:
    return unit * (size // len(unit))


METADATA = b'{"tags": [], "sdk_version": "0", "user_metadata": {"a": [%s 0]}}'


@pytest.mark.parametrize("unit", [b"[],", b'{"a":{}},', b"1,", b'"",'])
def test_metadata_that_unpack_to_a_hundred_megabytes(server, unit):
    packed = zstandard.ZstdCompressor(level=19).compress(METADATA % filled(unit, 100_000_000))
    assert len(packed) < 100_000
    with unhurt(server):
        assert set(together(*4 * [lambda: post(server, "create_session", packed, content_encoding="zstd")])) == {413}


def datum(**fields: bytes) -> bytes:
    """A message of one datum, from the raw bytes of its fields."""
    inside = b"".join(fields.values())
    return b"\x1a" + varint(len(inside)) + inside


def varint(number: int) -> bytes:
    found = b""
    while number >= 0x80:
        found += bytes([number & 0x7F | 0x80])
        number >>= 7
    return found + bytes([number])


def held(tag: bytes, inside: bytes) -> bytes:
    return tag + varint(len(inside)) + inside


SIZE = 60_000_000

PROTOBUF = {
    "datums": filled(b"\x1a\x00", SIZE),
    "chunks": datum(chunks=filled(b"\x0a\x00", SIZE)),
    "kinds of one chunk": datum(chunk=held(b"\x0a", filled(b"\x0a\x00\x12\x00", SIZE))),
    "inputs": datum(inputs=filled(b"\x12\x00", SIZE)),
    "spans": datum(spans=filled(b"\x1a\x00", SIZE)),
    "shape": datum(input=held(b"\x12", held(b"\x12", held(b"\x22", b"\x01" * SIZE)))),
    "configuration": filled(b"\x2a\x00", SIZE),
    "fields that nobody knows": filled(b"\x7a\x00", SIZE),
}


@pytest.mark.parametrize("name", PROTOBUF)
def test_messages_of_two_bytes_each(server, name):
    with unhurt(server):
        for body in (PROTOBUF[name][:10_000_000], PROTOBUF[name]):
            calls = 2 * [lambda body=body: post(server, "forward_backward", body, "application/x-protobuf")]
            assert set(together(*calls)) <= {400, 413}


def test_a_valid_message_is_not_too_many(server):
    """What official clients send at most: 1,024 datums in a request."""
    request = messages().ForwardBackwardRequest(model_id="none:train:0", seq_id=1, loss_fn="cross_entropy")
    for _ in range(1024):
        one = request.data.add()
        one.model_input.add().encoded_text.tokens = b"\1\0\0\0" * 100
        for name in ("target_tokens", "weights", "logprobs", "advantages", "mask"):
            tensor = one.loss_fn_inputs[name]
            tensor.dense, tensor.dtype = b"\0" * 400, 1
            tensor.shape.append(100)
        for _ in range(3):
            one.model_input_spans.add().prompt_tokens.length = 3
    body = request.SerializeToString()
    assert post(server, "forward_backward", body, "application/x-protobuf") == 404  # no such model: it was read


TRAINING = (
    b'{"model_id": "x", "seq_id": 1, "forward_backward_input": {"data": [%s], "loss_fn": "a", "loss_fn_config": %s}}'
)

JSON = {
    "datums": TRAINING % (filled(b'{"model_input":{"chunks":[]}},', SIZE)[:-1], b"{}"),
    "configuration": TRAINING % (b"", b'{"a": [%s 0]}' % filled(b"[],", SIZE)),
    "numbers": TRAINING % (b'{"model_input":{"chunks":[{"tokens":[%s0]}]}}' % filled(b"300,", SIZE), b"{}"),
    "depth": b"[" * SIZE,
}


@pytest.mark.parametrize("name", JSON)
def test_training_data_in_json_that_become_much(server, name):
    with unhurt(server):
        assert set(together(*2 * [lambda: post(server, "forward_backward", JSON[name])])) <= {400, 413, 422}


@pytest.mark.parametrize("path", ["forward_backward", "asample"])
def test_data_without_a_number_to_be_held(server, path):
    """What is refused is not built for the sake of the number that it may hold."""
    size = SIZE if path == "forward_backward" else 16_000_000
    body = b'{"model_idx": [%s 0]}' % filled(b"{},", size)
    with unhurt(server):
        assert set(together(*2 * [lambda: post(server, path, body)])) == {413}


def session(server: LocalServer) -> str:
    answer = requests.post(f"{server.url}/api/v1/create_session", json={"tags": [], "sdk_version": "0"}, timeout=60)
    return answer.json()["session_id"]


def test_models_of_the_largest_rank():
    """A hundred bytes ask for nine megabytes, and for four times that once the model is trained."""
    with local_server(limits={"adapter_bytes": 2**28}) as server, unhurt(server):
        mine = {"session_id": session(server), "base_model": "local/tiny", "lora_config": {"rank": 1024}}
        found = [
            post(server, "create_model", json.dumps({**mine, "model_seq_id": number}).encode()) for number in range(250)
        ]
        assert found[0] == 200
        assert found[-1] == 403
        assert found == sorted(found)


@pytest.mark.parametrize("unit", [b"[],", b'"",', b'"%b",' % (b"x" * 4096)])
def test_metadata_that_are_kept(server, unit):
    """They are kept as long as the server runs, also when their session is over."""
    packed = zstandard.ZstdCompressor().compress(METADATA % filled(unit, 4_000_000))
    with unhurt(server):
        for _ in range(200):
            assert post(server, "create_session", packed, content_encoding="zstd") == 413


def test_samples_that_list_much(server):
    """A request of four kilobytes asks for a hundred thousand pairs of a token and its log-probability."""
    body = {
        "base_model": "local/tiny",
        "num_samples": 1,
        "prompt": {"chunks": [{"tokens": [1] * 2000}]},
        "topk_prompt_logprobs": 64,
        "prompt_logprobs": True,
        "sampling_params": {"max_tokens": 1},
    }
    asked = [requests.post(f"{server.url}/api/v1/asample", json=body, timeout=60).json() for _ in range(30)]
    with unhurt(server):
        for one in asked:
            done = {"type": "try_again"}
            while done.get("type") == "try_again":
                polled = requests.post(
                    f"{server.url}/api/v1/retrieve_future", json={"request_id": one["request_id"]}, timeout=60
                )
                done = polled.json()
            assert done["type"] == "sample"


def connected(server: LocalServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=60)


def begun(server: LocalServer, size: int) -> socket.socket:
    """Send the head of a request and all but one byte of its body."""
    connection = connected(server)
    head = "POST /api/v1/forward_backward HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with contextlib.suppress(ConnectionError):  # it may be refused meanwhile
        connection.sendall(f"{head}Content-Length: {size}\r\n\r\n".encode() + b" " * (size - 1))
    return connection


@pytest.mark.parametrize("size", [100_000_000, 60_000_000])
def test_bodies_that_never_end(server, size):
    with unhurt(server), contextlib.ExitStack() as stack:
        for _ in range(12):
            stack.enter_context(contextlib.closing(begun(server, size)))
        # They don't keep anybody from sending one that does.
        assert post(server, "forward_backward", b" " * 30_000_000) == 400


def test_a_body_has_to_arrive_in_time():
    server = LocalServer(engine="ledger", limits={"body_seconds": 0.2})
    with server, unhurt(server), contextlib.closing(begun(server, 1000)) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /api/v1/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /api/v1/retrieve_future HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 24\r\n\r\n" + b'{"request_id": "r1.1-a"}',
    ],
)
def test_clients_that_send_on_and_never_read(server, request_bytes):
    many = request_bytes * 5000
    with unhurt(server), contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(server)) for _ in range(50)]
        for client in clients:
            client.setblocking(False)
        for _ in range(30):
            for client in clients:
                with contextlib.suppress(BlockingIOError, ConnectionError):
                    client.send(many)
            assert requests.get(f"{server.url}/api/v1/healthz", timeout=SLOWEST).status_code == 200


def test_requests_in_advance_are_all_answered_in_their_order(server):
    count = 2000
    paths = b"".join(
        b"GET /api/v1/samplers/%d HTTP/1.1\r\nHost: localhost\r\n%b\r\n"
        % (number, b"Connection: close\r\n" if number == count - 1 else b"")
        for number in range(count)
    )
    with connected(server) as connection:
        sending = threading.Thread(target=connection.sendall, args=(paths,))
        sending.start()
        said = b"".join(iter(lambda: connection.recv(65536), b""))
        sending.join()
    found = [json.loads(part.partition(b"}")[0] + b"}")["detail"] for part in said.split(b"\r\n\r\n")[1:]]
    assert found == [f"There is no sampler '{number}'." for number in range(count)]
