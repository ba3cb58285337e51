"""Connections that take and don't give, on a server with 1 GiB of memory: others are answered meanwhile."""

from __future__ import annotations

import contextlib
import json
import socket
import threading

import pytest
import requests

from tinker_actors.local.process import LocalServer

from .attacking import SAMPLE, SmallServer, good, post, unhurt

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server():
    with SmallServer() as running:
        yield running


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
    server = SmallServer(engine="ledger", limits={"body_seconds": 0.2})
    with server, unhurt(server), contextlib.closing(begun(server, 1000)) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /api/v1/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /api/v1/retrieve_future HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 24\r\n\r\n" + b'{"request_id": "r1.1-a"}',
    ],
    ids=["healthz", "retrieve_future"],
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
            assert requests.get(f"{server.url}/api/v1/healthz", timeout=60).status_code == 200


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


def test_answers_that_nobody_reads_take_so_much_memory_and_no_more():
    """Who asks for a large result on many connections is cut off on those that he has not read from for longest."""
    listing = {
        **SAMPLE, "base_model": "local/tiny", "prompt": {"chunks": [{"tokens": [1] * 2000}]}, "prompt_logprobs": True,
        "topk_prompt_logprobs": 64, "sampling_params": {"max_tokens": 1},
    }  # fmt: skip
    with SmallServer(limits={"unread_bytes": 2**22}) as server, contextlib.ExitStack() as stack:
        request_id = good(server, "asample", listing)["request_id"]
        said = b""
        while len(said) < 2**20:
            said = requests.post(f"{server.url}/api/v1/retrieve_future", json={"request_id": request_id}).content
        body = json.dumps({"request_id": request_id}).encode()
        head = "POST /api/v1/retrieve_future HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        asked = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        with unhurt(server):
            clients = []
            for _ in range(50):
                client = stack.enter_context(connected(server))
                # Several in a row: the kernel keeps the first ones.
                client.sendall(asked * 4)
                clients.append(client)
            # Somebody who reads gets it all the same.
            answer = requests.post(f"{server.url}/api/v1/retrieve_future", json={"request_id": request_id}, timeout=60)
            assert answer.content == said
        assert sum(was_cut_off(client) for client in clients) > 25


def was_cut_off(client: socket.socket) -> bool:
    client.settimeout(1)
    try:
        while client.recv(2**20):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True
