"""The HTTP side: thousands of holds, bodies too large, clients that go away."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
import socket
from urllib.parse import urlsplit

import pytest
import requests

JSON = {"Content-Type": "application/json"}
HEAD = "Host: localhost\r\nContent-Type: application/json\r\n"


async def post(url: str, path: str, body: dict) -> dict:
    """Send one request on a connection of its own."""
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    content = json.dumps(body).encode()
    head = f"POST /api/v1/{path} HTTP/1.1\r\n{HEAD}Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + content)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return json.loads(answer.partition(b"\r\n\r\n")[2])


def test_two_hundred_polls_are_held_at_once_and_answered_together(wire, bodies):
    model = wire.create_model()
    late = wire.submit("optim_step", bodies.step(model, 2))

    async def everybody() -> list[dict]:
        polls = [
            asyncio.create_task(post(wire.url, "retrieve_future", {"request_id": late, "allow_metadata_only": False}))
            for _ in range(200)
        ]
        # A request that is answered shows that the held ones leave the server free for others.
        while not (await post(wire.url, "session_heartbeat", {"session_id": wire.session})).get("type"):
            pass
        assert not any(poll.done() for poll in polls)
        await post(wire.url, "forward_backward", bodies.gradient(model, 1, b"abc"))
        return await asyncio.gather(*polls)

    answers = asyncio.run(asyncio.wait_for(everybody(), 60))
    assert len(answers) == 200
    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["type"] == "optim_step"


def test_a_poll_is_held_for_as_long_as_the_limit_says_and_then_told_to_try_again(connect, ledger_server):
    wire = connect(ledger_server)
    model = wire.submit("create_model", {"session_id": wire.session, "model_seq_id": 0, "base_model": "local/ledger"})
    step = {"model_id": wire.result(model)["model_id"], "seq_id": 2, "adam_params": {}}
    said = wire.good("retrieve_future", {"request_id": wire.submit("optim_step", step)})
    assert said["type"] == "try_again"
    assert said["queue_state"] == "active"
    assert "seq_id 1" in said["queue_state_reason"]


def test_a_client_that_goes_away_during_a_hold_leaves_the_server_well(wire, bodies):
    model = wire.create_model()
    late = wire.submit("optim_step", bodies.step(model, 2))
    body = json.dumps({"request_id": late}).encode()
    for _ in range(20):
        with socket.create_connection((urlsplit(wire.url).hostname, urlsplit(wire.url).port)) as gone:
            head = f"POST /api/v1/retrieve_future HTTP/1.1\r\n{HEAD}Content-Length: {len(body)}\r\n\r\n"
            gone.sendall(head.encode() + body)
    wire.submit("forward_backward", bodies.gradient(model, 1, b"abc"))
    assert wire.result(late)["type"] == "optim_step"


def test_a_body_above_the_limit_is_refused_whether_its_length_is_told_or_not(ledger_server):
    url = f"{ledger_server.url}/api/v1/create_session"
    assert requests.post(url, data=b" " * 20_000, headers=JSON, timeout=60).status_code == 413
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    connection.request(
        "POST",
        address.path,
        iter([b" " * 6_000] * 2),
        encode_chunked=True,
        headers={"Transfer-Encoding": "chunked", **JSON},
    )
    answer = connection.getresponse()
    assert answer.status == 413
    assert b"10000 bytes" in answer.read()
    connection.close()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/api/v1/nothing", 404),
        ("POST", "/api/v1/healthz", 405),
        ("POST", "/api/v1/asample", 400),
    ],
)
def test_errors_are_json(ledger_server, method, path, status):
    answer = requests.request(method, ledger_server.url + path, timeout=60)
    assert answer.status_code == status
    assert isinstance(answer.json()["detail"], str)


def test_sampler_ids_in_paths_may_be_encoded(connect, ledger_server):
    wire = connect(ledger_server)
    sampler = wire.create_sampler(0, base_model="local/ledger")
    for written in (sampler, sampler.replace(":", "%3A")):
        answer = requests.get(f"{wire.url}/api/v1/samplers/{written}", timeout=60)
        assert answer.json()["sampler_id"] == sampler


def lines(count):
    return b"".join(b"X-%06d: " % number + b"y" * 1000 + b"\r\n" for number in range(count))


@pytest.mark.parametrize(
    "endless", [lines(20_000), b"X: " + b"y" * 20_000_000, None], ids=["many headers", "one header", "path"]
)
def test_an_endless_head_is_refused_before_it_fills_the_memory(ledger_server, endless):
    head = (
        b"GET /api/v1/" + b"a" * 20_000_000 if endless is None else b"GET / HTTP/1.1\r\nHost: localhost\r\n" + endless
    )
    said = b""
    with socket.create_connection(("127.0.0.1", int(ledger_server.url.rpartition(":")[2]))) as connection:
        connection.settimeout(30)
        with contextlib.suppress(ConnectionError):  # it is closed while there is more to send
            for place in range(0, len(head), 10_000):
                connection.sendall(head[place : place + 10_000])
            pytest.fail("all of it was taken")
        with contextlib.suppress(ConnectionError):
            said = connection.recv(65536)
    assert not said or b" 431 " in said


def test_many_small_headers_do_not_fill_the_memory(ledger_server):
    """One takes three bytes on the wire and two hundred in memory, and heads that never end are kept until they do."""
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"a:\r\n" * 1000
    with socket.create_connection(("127.0.0.1", int(ledger_server.url.rpartition(":")[2]))) as connection:
        connection.settimeout(30)
        connection.sendall(head)
        assert b" 431 " in connection.recv(65536)
        assert connection.recv(65536) == b""


def test_a_long_head_is_taken_also_behind_long_bodies(ledger_server):
    begin = b"GET /api/v1/healthz HTTP/1.1\r\nHost: localhost\r\n"
    post = f"POST /api/v1/create_session HTTP/1.1\r\n{HEAD}Content-Length: 9000\r\n\r\n"
    posts = 20 * (post.encode() + b" " * 9000)
    with socket.create_connection(("127.0.0.1", int(ledger_server.url.rpartition(":")[2]))) as connection:
        connection.settimeout(30)
        connection.sendall(posts + begin)
        connection.sendall(lines(40) + b"Connection: close\r\n\r\n")
        said = b"".join(iter(lambda: connection.recv(65536), b""))
    assert [int(status) for status in re.findall(rb"HTTP/1.1 (\d+)", said)] == [400] * 20 + [200]
