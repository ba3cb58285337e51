"""Requests that no HTTP library sends: paths that lead out, and two requests that look like one."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest
import requests

from tinker_actors.local.process import LocalServer

MOST_SECONDS = 30.0
OUT = ["..", "%2e%2e", "%2E%2e", "..%2f..", "%252e%252e", "..\\..", "....//", "%00", "%c0%ae%c0%ae"]
PLACES = [
    "archives/{}/weights/c1",
    "archives/x/{}/c1",
    "archives/x/weights/{}",
    "training_runs/{}/checkpoints/weights/c1/archive",
    "training_runs/x/checkpoints/{}/tinker.sqlite3/archive",
    "training_runs/x/checkpoints/weights/{}/archive",
    "samplers/{}",
    "sessions/{}",
    "{}/tinker.sqlite3",
    "{}/{}/{}/{}/etc/passwd",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with LocalServer(engine="ledger", data_dir=tmp_path_factory.mktemp("data")) as running:
        yield running


def exchanged(server, sent):
    """Send bytes on one connection, and return all that comes until it ends."""
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=MOST_SECONDS) as connection:
        answer = b""
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                answer += piece
        except ConnectionError:
            pass  # it was refused before all of it was read
    return answer


def sessions(server):
    return len(requests.get(f"{server.url}/api/v1/sessions", timeout=MOST_SECONDS).json()["sessions"])


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "POST"])
def test_no_path_leads_out_of_what_is_served(server, place, method):
    before = sorted(path for path in server.data_dir.rglob("*"))
    for out in OUT:
        head = f"{method} /api/v1/{place.replace('{}', out)} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        answer = exchanged(server, f"{head}content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}".encode())
        status, _, body = answer.partition(b"\r\n\r\n")
        assert int(status.split()[1]) in (400, 403, 404, 405, 422), (out, answer)
        assert b"SQLite" not in body
        assert b"root:" not in body
    assert sorted(path for path in server.data_dir.rglob("*")) == before


@pytest.mark.parametrize(
    "path", ["tinker://../weights/x", "tinker://../../tinker.sqlite3", "tinker://a/weights/../..", "../x"]
)
def test_no_checkpoints_path_leads_out_either(server, path):
    with requests.Session() as http:
        http.trust_env = False

        def post(where, body):
            return http.post(f"{server.url}/api/v1/{where}", json=body, timeout=MOST_SECONDS)

        session = post("create_session", {"tags": [], "sdk_version": "0"}).json()["session_id"]
        sampler = {"session_id": session, "sampling_session_seq_id": 0, "model_path": path}
        for where, body in (
            ("weights_info", {"tinker_path": path}),
            ("create_sampling_session", sampler),
            ("copy_weights", {"source_path": path}),
        ):
            assert post(where, body).status_code in (400, 404), where


HIDDEN = (
    b"POST /api/v1/create_session HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    b"content-length: 2\r\n\r\n{}"
)
"""What is in the body of the first request for one reader, and behind it for another."""

SHAPES = {
    "length and chunks": b"content-length: %d\r\ntransfer-encoding: chunked\r\n" % (5 + len(HIDDEN)),
    "chunks and length": b"transfer-encoding: chunked\r\ncontent-length: %d\r\n" % (5 + len(HIDDEN)),
    "two lengths": b"content-length: 0\r\ncontent-length: %d\r\n" % len(HIDDEN),
    "two lengths in one": b"content-length: 0, %d\r\n" % len(HIDDEN),
    "a signed length": b"content-length: +%d\r\n" % len(HIDDEN),
    "a negative length": b"content-length: -1\r\n",
    "a length with a letter": b"content-length: %dx\r\n" % len(HIDDEN),
    "a length in hex": b"content-length: 0x0\r\n",
    "a space before the colon": b"content-length : %d\r\n" % len(HIDDEN),
    "a folded header": b"x: y\r\n content-length: %d\r\n" % len(HIDDEN),
    "an unknown coding": b"transfer-encoding: xchunked\r\n",
    "two codings": b"transfer-encoding: chunked, identity\r\n",
    "a coding with a tab": b"transfer-encoding:\tchunked\x0b\r\n",
    "a header without a colon": b"content-length\r\n",
    "a null in a header": b"x: a\x00b\r\n",
    "a lone carriage return": b"x: a\rcontent-length: %d\r\n" % len(HIDDEN),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_of_two_requests_that_look_like_one_the_second_is_not_done(server, shape):
    before = sessions(server)
    first = b"POST /api/v1/telemetry HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    answer = exchanged(server, first + SHAPES[shape] + b"\r\n" + b"0\r\n\r\n" + HIDDEN)
    assert answer.count(b"HTTP/1.1 ") <= 1, answer
    assert b"session_id" not in answer
    assert sessions(server) == before
    assert requests.get(f"{server.url}/api/v1/healthz", timeout=MOST_SECONDS).status_code == 200


def test_two_requests_that_are_two_are_both_done(server):
    before = sessions(server)
    first = b"POST /api/v1/telemetry HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    answer = exchanged(server, first + b"content-length: 5\r\n\r\n0\r\n\r\n" + HIDDEN)
    assert answer.count(b"HTTP/1.1 ") == 2, "the shapes above would show, were they taken for this"
    assert sessions(server) == before + 1
