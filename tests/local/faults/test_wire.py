"""What each fault looks like on the wire, to a client that is nothing but `requests`."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading

import pytest
import requests

import tinker_actors as ta
from tinker_actors.errors import ConfigError
from tinker_actors.local.faults.control import FaultControl
from tinker_actors.local.faults.switchboard import Count
from tinker_actors.local.options import ServerOptions, encoded

HANG = 60.0


class Wire:
    def __init__(self, url: str) -> None:
        self.url = url

    def post(self, path: str, body: dict) -> requests.Response:
        return requests.post(f"{self.url}/api/v1/{path}", json=body, timeout=HANG)

    def good(self, path: str, body: dict) -> dict:
        answer = self.post(path, body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def session(self) -> str:
        return self.good("create_session", {"tags": []})["session_id"]

    def model(self, session: str) -> str:
        body = {"session_id": session, "model_seq_id": 0, "base_model": "local/ledger", "lora_config": {"rank": 1}}
        request_id = self.good("create_model", body)["request_id"]
        return self.good("retrieve_future", {"request_id": request_id})["model_id"]

    def step(self, model: str, seq_id: int | None) -> dict:
        return {"model_id": model, "seq_id": seq_id, "adam_params": {}}


@pytest.fixture
def wire(server):
    return Wire(server.url)


def steps_applied(wire: Wire, model: str) -> float:
    """How many steps the model has had, the one that asks included."""
    request_id = wire.good("optim_step", wire.step(model, None))["request_id"]
    return wire.good("retrieve_future", {"request_id": request_id})["metrics"]["steps:max"]


@pytest.mark.parametrize("status", [408, 409, 410, 429, 500, 502, 503])
def test_a_status_is_answered_and_nothing_is_done(server, wire, status):
    model = wire.model(wire.session())
    server.faults.add("optim_step", status=status, retry_after=1.5, times=1)
    answer = wire.post("optim_step", wire.step(model, 1))
    assert answer.status_code == status
    assert answer.headers["retry-after"] == "1.5"
    assert answer.json()["detail"]
    assert steps_applied(wire, model) == 1


def test_a_status_can_come_as_a_page(server, wire):
    server.faults.add("create_session", status=502, html=True, reason="Bad gateway")
    answer = wire.post("create_session", {})
    assert answer.headers["content-type"].startswith("text/html")
    assert "Bad gateway" in answer.text


@pytest.mark.parametrize(
    ("kind", "error", "applied"),
    [
        ("reset_before", "reset by peer", 0),
        ("reset_middle", "reset by peer", 1),
        ("reply_lost", "without response", 1),
        ("truncated", "bytes read", 1),
    ],
)
def test_a_broken_connection_says_nothing_of_what_was_done(server, wire, kind, error, applied):
    model = wire.model(wire.session())
    server.faults.add("optim_step", kind, times=1)
    with pytest.raises(requests.ConnectionError, match=error):
        _post_whole(wire, model)
    assert steps_applied(wire, model) == applied + 1


def _post_whole(wire: Wire, model: str) -> None:
    try:
        wire.post("optim_step", wire.step(model, 1))
    except requests.exceptions.ChunkedEncodingError as broken:
        raise requests.ConnectionError(str(broken)) from broken  # requests' name for a body that ends too early


def test_a_reset_after_the_answer_hits_the_next_request_on_the_connection_only(server, wire):
    server.faults.add("create_session", "reset_after", times=1)
    with requests.Session() as http:
        assert http.post(f"{wire.url}/api/v1/create_session", json={}, timeout=HANG).json()["session_id"]
        with contextlib.suppress(requests.ConnectionError):  # whether the pool has noticed yet is a race
            http.post(f"{wire.url}/api/v1/create_session", json={}, timeout=HANG)
        assert http.post(f"{wire.url}/api/v1/create_session", json={}, timeout=HANG).status_code == 200


def test_a_corrupted_body_has_its_length_and_is_no_json(server, wire):
    server.faults.add("create_session", "corrupted", times=1)
    answer = wire.post("create_session", {})
    assert answer.status_code == 200
    assert len(answer.content) == len(wire.post("create_session", {}).content)
    with pytest.raises(UnicodeDecodeError):
        answer.content.decode()


def test_a_duplicate_is_handled_twice_and_a_number_keeps_it_from_being_done_twice(server, wire):
    model = wire.model(wire.session())
    server.faults.add("optim_step", "duplicated", times=2)
    wire.good("optim_step", wire.step(model, 1))
    assert steps_applied(wire, model) == 3  # 1, and the unnumbered one that asks, done twice


@pytest.mark.parametrize("status", [404, 410])
def test_a_lost_session_is_gone_for_good_and_others_live_on(server, wire, status):
    mine, other = wire.session(), wire.session()
    model = wire.model(mine)
    server.faults.add("optim_step", "session_lost", status=status, times=1)
    assert wire.post("optim_step", wire.step(model, 1)).status_code == status
    assert wire.post("session_heartbeat", {"session_id": mine}).status_code == status
    assert wire.post("session_heartbeat", {"session_id": other}).status_code == 200


def test_a_session_can_be_lost_by_a_poll_whose_body_does_not_name_it(server, wire):
    session = wire.session()
    model = wire.model(session)
    request_id = wire.good("optim_step", wire.step(model, 2))["request_id"]  # number 1 never comes
    server.faults.add("retrieve_future", "session_lost", times=1)
    assert wire.post("retrieve_future", {"request_id": request_id}).status_code == 410
    assert wire.post("session_heartbeat", {"session_id": session}).status_code == 410


@pytest.mark.parametrize("decided", [True, False])
def test_an_evicted_result_is_gone_whether_it_was_there_or_not(server, wire, decided):
    model = wire.model(wire.session())
    request_id = wire.good("optim_step", wire.step(model, 1 if decided else 2))["request_id"]
    if decided:
        assert wire.good("retrieve_future", {"request_id": request_id})["metrics"]
    server.faults.add("retrieve_future", "evicted", times=1)
    for _ in range(2):
        assert wire.post("retrieve_future", {"request_id": request_id}).status_code == 410


@pytest.mark.parametrize(("kind", "status"), [("paused_rate_limit", 200), ("paused_capacity", 408)])
def test_a_paused_poll_says_why(server, wire, kind, status):
    request_id = wire.good("optim_step", wire.step(wire.model(wire.session()), 1))["request_id"]
    server.faults.add("retrieve_future", kind, of="optim_step", reason="Full house.", status=status, times=1)
    answer = wire.post("retrieve_future", {"request_id": request_id})
    assert answer.status_code == status
    assert answer.json() == {
        "type": "try_again", "request_id": request_id, "queue_state": kind, "queue_state_reason": "Full house.",
    }  # fmt: skip
    assert wire.good("retrieve_future", {"request_id": request_id})["metrics"]


def test_a_jump_of_the_clock_ends_sessions_that_have_not_been_heard_of_since(server, wire):
    silent = wire.session()
    server.faults.add("session_heartbeat", "clock_skew", seconds=301, times=1)
    assert wire.post("session_heartbeat", {"session_id": wire.session()}).status_code == 200
    for _ in range(1000):
        if wire.post("get_info", {"model_id": f"{silent}:train:0"}).status_code == 410:
            return
    raise AssertionError("the session still lives")


def test_a_jump_of_the_clock_ends_holds(server, wire):
    session = wire.session()
    request_id = wire.good("optim_step", wire.step(wire.model(session), 2))["request_id"]  # number 1 never comes
    answers = []
    poll = threading.Thread(target=lambda: answers.append(wire.post("retrieve_future", {"request_id": request_id})))
    server.faults.add("session_heartbeat", "clock_skew", seconds=31)
    poll.start()
    while poll.is_alive():  # one jump is enough, unless it comes before the poll
        wire.good("session_heartbeat", {"session_id": session})
        poll.join(0.05)
    assert answers[0].json()["type"] == "try_again"


def test_a_stream_can_be_cut_off(server, wire):
    body = {"session_id": wire.session(), "sampling_session_seq_id": 0, "base_model": "local/ledger"}
    sampler = wire.good("create_sampling_session", body)["sampling_session_id"]
    asked = {
        "sampling_session_id": sampler, "prompt": {"chunks": [{"tokens": [1, 2]}]},
        "sampling_params": {"max_tokens": 9},
    }  # fmt: skip
    server.faults.add("stream_sample", "truncated", times=1)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        wire.post("stream_sample", asked)
    assert wire.post("stream_sample", asked).status_code == 200


def test_chance_repeats_after_a_clear(server, wire):
    def pattern() -> list[int]:
        server.faults.clear()
        server.faults.add("healthz", status=503, probability=0.5)
        return [requests.get(f"{wire.url}/api/v1/healthz", timeout=HANG).status_code for _ in range(30)]

    first = pattern()
    assert first == pattern()
    assert set(first) == {200, 503}


def test_a_body_above_the_limit_is_refused_while_faults_are_on(wire, server):
    with ta.local_server(engine="ledger", limits={"body_bytes": 10_000}) as small:
        small.faults.add("*", "duplicated")
        answer = requests.post(
            f"{small.url}/api/v1/create_session",
            data=b" " * 200_000,
            headers={"content-type": "application/json"},
            timeout=HANG,
        )
        assert answer.status_code == 413


# ---------------------------------------------------------------- who may switch


def test_the_switchboard_lists_what_it_was_told_and_forgets_it(server):
    rule = server.faults.add("optim_step", "delay", seconds=1, name="slow")
    assert server.faults.list() == [rule]
    assert rule.name == "slow"
    server.faults.remove("slow")
    assert server.faults.list() == []
    with pytest.raises(ConfigError, match="slow"):
        server.faults.remove("slow")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("optim_stp", "delay", 1), "no endpoint"),
        (("optim_step", "boom", 1), "boom"),
        (("*", "delay", -1), "0 or more"),
    ],
)
def test_a_mistake_is_an_error_where_it_is_made(server, asked, said):
    endpoint, kind, seconds = asked
    with pytest.raises(ConfigError, match=said):
        server.faults.add(endpoint, kind, seconds=seconds)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT"])
def test_without_the_token_nobody_is_let_in(server, method):
    for headers in ({}, {"x-admin-token": "guess"}):
        assert requests.request(method, f"{server.url}/admin/faults", headers=headers, timeout=HANG).status_code == 401


def test_the_admin_endpoint_refuses_what_it_does_not_know(server):
    headers = {"x-admin-token": server.faults._token, "content-type": "application/json"}
    for method, path, status in [("PUT", "", 405), ("GET", "/x", 404), ("POST", "", 400)]:
        url = f"{server.url}/admin/faults{path}"
        assert requests.request(method, url, headers=headers, data=b"{", timeout=HANG).status_code == status


def command_of(**options) -> list[str]:
    return [sys.executable, "-m", "tinker_actors.local", encoded(ServerOptions(engine="ledger", **options))]


def started(**options) -> tuple[subprocess.Popen, dict]:
    command = command_of(until_eof=True, **options)
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    return child, json.loads(child.stdout.readline())


def ended(child: subprocess.Popen) -> int:
    child.stdin.close()
    child.stdout.close()
    return child.wait(HANG)


@pytest.mark.slow
def test_there_is_no_admin_endpoint_unless_it_was_asked_for():
    child, ready = started(faults=("healthz:status=503:times=1",))
    assert "admin_token" not in ready
    assert requests.get(f"{ready['url']}/admin/faults", timeout=HANG).status_code == 404
    statuses = [requests.get(f"{ready['url']}/api/v1/healthz", timeout=HANG).status_code for _ in range(2)]
    assert statuses == [503, 200]
    assert ended(child) == 0


@pytest.mark.slow
def test_the_command_line_can_ask_for_faults_and_tells_the_token():
    command = [sys.executable, "-m", "tinker_actors", "serve", "--port", "0", "--admin", "--fault-seed", "5"]
    child = subprocess.Popen([*command, "--fault", "healthz:status=503:times=1"], stdout=subprocess.PIPE, text=True)
    with child, child.stdout as said:
        url = next(line for line in said if line.startswith("Serving at ")).split()[-1]
        token = next(line for line in said if line.startswith("Admin: ")).split()[-1]
        control = FaultControl(url, token)
        assert [rule.name for rule in control.list()] == ["healthz:status"]
        assert control.seed == 5
        assert requests.get(f"{url}/api/v1/healthz", timeout=HANG).status_code == 503
        assert control.counts() == {"healthz:status": Count(1, 1)}
        child.terminate()
    assert child.returncode == 0


@pytest.mark.slow
def test_a_fault_that_is_none_keeps_the_server_from_starting():
    done = subprocess.run(command_of(faults=("healthz:boom",)), capture_output=True, timeout=HANG, check=False)
    assert done.returncode == 1
    assert b"boom" in done.stderr
