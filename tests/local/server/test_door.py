"""What web pages can do to a real server: nothing. Every answer, whoever makes it, tells browsers what it is."""

from __future__ import annotations

import socket

import pytest
import requests

import tinker_actors as ta
from tinker_actors.local.process import LocalServer, LocalServerError, local_server

pytestmark = pytest.mark.slow

JSON = {"content-type": "application/json"}
SESSION = b'{"tags": [], "sdk_version": "0"}'

REFUSED = [
    ("POST", "create_session", {"content-type": "text/plain"}, 415),
    ("POST", "create_session", {"content-type": "application/x-www-form-urlencoded"}, 415),
    ("POST", "create_session", {}, 415),
    ("POST", "create_session", {**JSON, "origin": "https://evil.example"}, 403),
    ("POST", "create_session", {**JSON, "sec-fetch-site": "cross-site"}, 403),
    ("POST", "create_session", {**JSON, "host": "evil.example"}, 403),
    ("GET", "checkpoints", {"host": "evil.example:8000"}, 403),
    ("GET", "checkpoints", {"sec-fetch-site": "cross-site"}, 403),
    ("GET", "healthz", {"host": "evil.example"}, 403),
    ("DELETE", "training_runs/a/checkpoints/weights/b", {"host": "evil.example"}, 403),
    ("OPTIONS", "create_session", {"origin": "https://evil.example", "access-control-request-method": "POST"}, 403),
]


def sessions(url: str) -> int:
    return len(requests.get(f"{url}/api/v1/sessions?limit=100", timeout=60).json()["sessions"])


@pytest.mark.parametrize(("method", "path", "headers", "status"), REFUSED)
def test_a_web_page_can_not_use_the_server(ledger_server, method, path, headers, status):
    before = sessions(ledger_server.url)
    body = SESSION if method == "POST" else None
    answer = requests.request(method, f"{ledger_server.url}/api/v1/{path}", data=body, headers=headers, timeout=60)
    assert (answer.status_code, type(answer.json()["detail"])) == (status, str)
    assert "access-control-allow-origin" not in answer.headers
    assert sessions(ledger_server.url) == before


def test_the_admin_endpoint_is_behind_the_same_door(ledger_server):
    answer = requests.get(f"{ledger_server.url}/admin/faults", headers={"host": "evil.example"}, timeout=60)
    assert answer.status_code == 403


def ask(url: str, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=60) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_every_answer_tells_browsers_what_it_is(ledger_server):
    head = b"GET /api/v1/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    ledger_server.faults.add("get_server_capabilities", status=503, html=True, times=1)
    asked = {
        "an answer": head + b"\r\n",
        "a path that leads nowhere": head.replace(b"/api/v1/healthz", b"/") + b"\r\n",
        "a page": head.replace(b"healthz", b"get_server_capabilities") + b"\r\n",
        "a refusal at the door": head.replace(b"localhost", b"evil.example") + b"\r\n",
        "no HTTP": b"nonsense\r\n\r\n",
    }
    for what, request in asked.items():
        said = ask(ledger_server.url, request).lower()
        assert said.count(b"x-content-type-options: nosniff\r\n") == 1, what
        assert said.count(b"cache-control: no-store\r\n") == 1, what
        assert b"content-security-policy: default-src 'none'" in said, what


def test_a_client_comes_in_by_a_name_that_was_allowed():
    with local_server(engine="ledger", allowed_hosts=["*.test"]) as server:
        headers = {"host": "tinker.test:8000"}
        assert requests.get(f"{server.url}/api/v1/healthz", headers=headers, timeout=60).status_code == 200
        with ta.ServiceClient(base_url=server.url.replace("127.0.0.1", "localhost")) as service:
            service.create_lora_training_client("local/ledger", rank=4).save_state("kept").result()
            saved = requests.get(f"{server.url}/api/v1/checkpoints", timeout=60).json()["checkpoints"][0]
            # A request without content needs no type; the official client gives one all the same.
            run_id = saved["tinker_path"].split("/")[2]
            publish = f"{server.url}/api/v1/training_runs/{run_id}/checkpoints/{saved['checkpoint_id']}/publish"
            assert requests.post(publish, timeout=60).status_code == 200
            assert requests.post(publish, headers=JSON, timeout=60).status_code == 409


def test_a_server_for_other_machines_answers_to_the_address_it_listens_on():
    with local_server(engine="ledger", host="0.0.0.0", insecure=True) as server:
        for url in (server.url, server.url.replace("0.0.0.0", "127.0.0.1")):
            assert requests.get(f"{url}/api/v1/healthz", timeout=60).status_code == 200


def test_what_is_no_host_can_not_be_allowed():
    with pytest.raises(LocalServerError, match="no host to be allowed"), LocalServer(allowed_hosts=["http://x"]):
        pass
