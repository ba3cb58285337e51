"""Connections that take and don't give, on a server with 1 GiB of memory: others are answered meanwhile."""

from __future__ import annotations

import contextlib
import json
import socket
import threading

import pytest
import requests

from tinker_actors.local.process import LocalServer

from .attacking import SmallServer, post, unhurt

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
