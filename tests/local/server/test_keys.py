"""Keys and tokens on a real server: asked for, refused, never shown."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

import tinker_actors as ta
from tinker_actors.clients import local_door
from tinker_actors.errors import ConfigError
from tinker_actors.local import keys
from tinker_actors.local.launching import BLAS_VARIABLES, without_keys
from tinker_actors.local.process import LocalServer, LocalServerError

pytestmark = pytest.mark.slow

ANN, BOB = "tml-ann=with=signs", "tml-bob"


@pytest.fixture(scope="module")
def guarded():
    keys = {ANN: "ann", BOB: "bob"}
    with LocalServer(engine="ledger", api_keys=keys, jwt=True, log_level="debug") as running:
        yield running


def call(server, key, method="GET", path="sessions", **options):
    headers = {"Content-Type": "application/json", **({} if key is None else {"X-API-Key": key})}
    return requests.request(method, f"{server.url}/api/v1/{path}", headers=headers, timeout=60, **options)


def test_a_server_with_keys_tells_owners_apart(guarded):
    made = call(guarded, ANN, "POST", "create_session", json={"tags": [], "sdk_version": "0"}).json()["session_id"]
    assert made in call(guarded, ANN).json()["sessions"]
    assert call(guarded, BOB).json()["sessions"] == []
    assert call(guarded, None).status_code == 401
    assert call(guarded, "tml-nobody").status_code == 401
    assert call(guarded, None, path="healthz").status_code == 200


def test_a_token_from_the_server_opens_it(guarded):
    config = call(guarded, ANN, "POST", "client/config", json={"sdk_version": "0"}).json()
    assert config["pjwt_auth_enabled"] is True
    token = call(guarded, ANN, "POST", "auth/token", json={}).json()["jwt"]
    assert call(guarded, token).json() == call(guarded, ANN).json()
    answer = call(guarded, token[:-2])
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_a_large_body_is_read_for_those_who_have_a_key(guarded):
    body = b" " * 30_000_000
    assert call(guarded, ANN, "POST", "forward_backward", data=body).status_code == 400
    for key in (None, "tml-nobody"):
        taken, status = pushed(guarded, key, body)
        assert status in (b"", b"401")
        assert taken < len(body)


def pushed(server, key, body):
    """Send a request; return how much of its body went out, and the status if it could be read."""
    taken, said = 0, b""
    head = "POST /api/v1/forward_backward HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\nX-API-Key: {key}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as connection:
        connection.settimeout(60)
        connection.sendall(head.encode())
        with contextlib.suppress(ConnectionError):
            while taken < len(body):
                taken += connection.send(body[taken : taken + 100_000])
        with contextlib.suppress(ConnectionError):
            said = connection.recv(65536)
    return taken, said[9:12]


def test_keys_are_in_no_log_argument_repr_or_file(tmp_path):
    server = LocalServer(engine="ledger", api_keys={ANN: "ann"}, data_dir=tmp_path, log_level="debug")
    with server:
        call(server, ANN, "POST", "create_session", json={"tags": [], "sdk_version": "0"})
        call(server, BOB)
        shown = Path(f"/proc/{server.pid}/cmdline").read_bytes() + repr(server).encode()
        shown += server._log_tail().encode()
    assert b"create_session" in shown, "the log is there"
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert kept
    for key in (ANN, BOB):
        assert key.encode() not in shown + kept


def test_with_keys_a_server_may_be_reached_from_anywhere():
    with LocalServer(host="0.0.0.0", engine="ledger", api_keys={BOB: "bob"}) as server:
        port = server.url.rpartition(":")[2]
        answer = requests.get(f"http://127.0.0.1:{port}/api/v1/sessions", headers={"X-API-Key": BOB}, timeout=60)
        assert answer.json() == {"sessions": []}
    with pytest.raises(LocalServerError, match="asks nobody for a key"):
        LocalServer(host="0.0.0.0", engine="ledger").start()


@pytest.mark.parametrize("given", ["tml-secret", "=owner", "tml-secret=", ""])
def test_what_is_no_key_is_refused_without_being_repeated(given):
    with pytest.raises(ValueError, match="not KEY=OWNER") as caught:
        keys.key_and_owner(given)
    assert "tml-secret" not in str(caught.value)


def test_keys_come_from_options_files_and_the_environment_and_are_not_in_the_process_list(tmp_path):
    file = tmp_path / "keys"
    file.write_text("# ours\n\n  tml-cid=cid  \ntml=dan=dan\n")
    command = [sys.executable, "-m", "tinker_actors", "serve", "--port", "0"]
    command += ["--api-key", f"{ANN}=ann", "--api-key=tml-eve=eve", "--api-key-file", str(file)]
    environment = {**os.environ, keys.VARIABLE: '{"tml-bob": "bob"}', **dict.fromkeys(BLAS_VARIABLES, "1")}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as child:
        url = child.stdout.readline().split()[-1].decode()
        shown = Path(f"/proc/{child.pid}/cmdline").read_bytes()
        statuses = [
            requests.get(f"{url}/api/v1/sessions", headers={"X-API-Key": key}, timeout=60).status_code
            for key in (ANN, BOB, "tml-cid", "tml=dan", "tml-eve", "tml-other", "# ours")
        ]
        child.terminate()
        child.wait(60)
    assert statuses == [200, 200, 200, 200, 200, 401, 401]
    assert b"serve" in shown
    for key in (ANN, BOB, "tml-cid", "tml=dan", "tml-eve"):
        assert key.encode() not in shown


@pytest.mark.parametrize("second", ["option", "variable", "file", "within the variable"])
def test_a_key_that_is_given_to_two_owners_is_refused_and_not_repeated(second, tmp_path):
    file, environment = tmp_path / "keys", dict(os.environ)
    first, again = "tml-given-twice=ann", "tml-given-twice=bob"
    arguments = ["--api-key", first]
    if second == "option":
        arguments += ["--api-key", again]
    elif second == "variable":
        environment[keys.VARIABLE] = '{"tml-given-twice": "bob"}'
    elif second == "file":
        file.write_text(again)
        arguments += ["--api-key-file", str(file)]
    else:
        arguments = []
        environment[keys.VARIABLE] = '{"tml-given-twice": "ann", "tml-given-twice": "bob"}'
    command = [sys.executable, "-m", "tinker_actors", "serve", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "a key is given twice" in done.stderr
    assert "tml-given-twice" not in done.stderr + done.stdout


def test_a_key_may_be_given_twice_to_one_owner():
    pairs = [("tml-key", "ann"), ("tml-key", "ann")]
    assert keys.joined(("here", pairs), ("there", pairs)) == {"tml-key": "ann"}


def test_only_keys_are_taken_from_the_arguments():
    given = [
        "serve",
        "--api-key",
        "a=b",
        "--jwt",
        "--api-key=c=d",
        "--api-key-file",
        "f",
        "--api-key-file=g",
        "--api-key",
    ]
    assert without_keys(given) == ["serve", "--jwt", "--api-key-file", "f", "--api-key-file=g"]


@pytest.mark.parametrize("line", ["tml-secret", "=ann", "tml-secret=", "tml-secret=ann\ntml-secret=bob"])
def test_a_file_with_something_else_is_refused_by_its_line_which_is_not_repeated(tmp_path, line):
    file = tmp_path / "keys"
    file.write_text(f"a=b\n{line}\n")
    with pytest.raises(ConfigError, match=rf"{file}, line [23]") as caught:
        keys.keys_in_file(file)
    assert "tml-secret" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe=x"])
def test_a_file_that_can_not_be_read_is_named(tmp_path, content):
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=f"{file} can't be read"):
        keys.keys_in_file(file)


@pytest.mark.parametrize("value", ["tml-secret", "[]", '{"tml-secret": 1}', "[" * 100])
def test_a_variable_with_something_else_is_refused_without_being_repeated(value):
    with pytest.raises(ConfigError, match=keys.VARIABLE) as caught:
        keys.keys_in({keys.VARIABLE: value})
    assert "tml-secret" not in str(caught.value)
    assert keys.keys_in({}) == keys.keys_in({keys.VARIABLE: ""}) == {}


REAL = "tml-the-real-key-of-the-user"


@pytest.mark.parametrize("passed", [{}, {"api_key": REAL}, {"config": ta.Config(api_key=REAL)}])
def test_the_server_of_the_local_door_neither_inherits_nor_is_sent_the_users_key(monkeypatch, passed):
    monkeypatch.setenv("TINKER_API_KEY", REAL)
    monkeypatch.setenv("CLOUDFLARE_ACCESS_CLIENT_ID", REAL)
    monkeypatch.setenv("CLOUDFLARE_ACCESS_CLIENT_SECRET", REAL)
    monkeypatch.setenv(keys.VARIABLE, f'{{"{REAL}": "me"}}')  # of another server
    with ta.ServiceClient(base_url="local:", **passed) as service:
        (house,) = local_door._houses.values()
        server = house.server
        assert REAL.encode() not in Path(f"/proc/{server.pid}/environ").read_bytes()
        config = service._service.config
        assert REAL not in repr(vars(server))
        assert config.api_key is None
        assert REAL not in repr(config.default_headers)
        sampler = service.create_sampling_client(base_model="local/tiny")
        assert sampler.sample(ta.ModelInput.from_ints([1]), 1, ta.SamplingParams(max_tokens=1)).result(60).sequences
