"""The server as a process: it starts, stops, dies with its parent, comes back after a kill."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

import tinker_actors as ta
from tinker_actors.errors import ConfigError
from tinker_actors.local.options import ServerOptions
from tinker_actors.local.process import LocalServer, LocalServerError, local_server
from tinker_actors.local.serving import is_loopback, serve

pytestmark = pytest.mark.slow

PATIENCE = 30.0


def wait_for_end(pid: int) -> bool:
    """Return whether a process that is nobody's child here ends while one has patience."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], PATIENCE)[0])
    finally:
        os.close(descriptor)


def test_a_saved_checkpoint_survives_a_kill_and_samples_the_same(tmp_path, connect, bodies):
    server = LocalServer(data_dir=tmp_path)
    with server:
        wire = connect(server)
        model = wire.create_model()
        for seq_id in (1, 3, 5):
            wire.submit("forward_backward", bodies.gradient(model, seq_id, b"abcdefgh"))
            wire.submit("optim_step", bodies.step(model, seq_id + 1))
        path = wire.do("save_weights_for_sampler", {"model_id": model, "seq_id": 7, "path": "kept"})["path"]
        before = wire.do("asample", bodies.greedy(wire.create_sampler(0, model_path=path), b"ab"))
        url = server.url
        server.kill()
        server.start()
        assert server.url == url, "it comes back where it was"
        lost = wire.post("session_heartbeat", {"session_id": wire.session})
        assert lost.status_code == 410
        wire = connect(server)
        after = wire.do("asample", bodies.greedy(wire.create_sampler(0, model_path=path), b"ab"))
        assert after["sequences"][0]["tokens"] == before["sequences"][0]["tokens"]
    assert tmp_path.exists(), "a folder that was given is kept"


def test_the_child_ends_when_its_parent_is_killed():
    program = textwrap.dedent(
        f"""
        import sys; sys.path[:0] = {sys.path!r}
        from tinker_actors.local.process import local_server
        server = local_server(engine="ledger")
        print(server.pid, server.data_dir, flush=True)
        sys.stdin.read()
        """
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        pid, folder = parent.stdout.readline().decode().split()
        assert Path(folder).is_dir()
        parent.kill()
        parent.wait()
        assert wait_for_end(int(pid))
        assert not Path(folder).exists(), "its temporary folder goes with it"


def test_stopping_answers_held_polls_and_removes_the_temporary_folder(connect, bodies):
    server = local_server(engine="ledger")
    folder = server.data_dir
    wire = connect(server)
    model = wire.do("create_model", {"session_id": wire.session, "model_seq_id": 0, "base_model": "local/ledger"})
    late = wire.submit("optim_step", bodies.step(model["model_id"], 2))
    answers = []
    sent = threading.Event()

    def poll() -> None:
        held = socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])))
        body = b'{"request_id": "%s"}' % late.encode()
        held.sendall(
            b"POST /api/v1/retrieve_future HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        sent.set()
        while piece := held.recv(65536):
            answers.append(piece)
        held.close()

    waiting = threading.Thread(target=poll)
    waiting.start()
    assert sent.wait(PATIENCE)
    wire.good("session_heartbeat", {"session_id": wire.session})  # sent later, so the poll has been read
    server.stop()
    waiting.join(PATIENCE)
    assert b"try_again" in b"".join(answers)
    assert not folder.exists()
    with pytest.raises(RuntimeError):
        _ = server.pid


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_server_and_its_temporary_folder_goes(number):
    server = local_server(engine="ledger")
    os.kill(server.pid, number)
    assert wait_for_end(server.pid)
    assert not server.data_dir.exists()
    server.stop()


def test_a_server_that_can_not_start_says_why(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(LocalServerError, match="in use") as caught:
            local_server(engine="ledger", port=taken.getsockname()[1], data_dir=tmp_path)
        assert "status 1" in str(caught.value)
    with pytest.raises(LocalServerError, match="nonsense"):
        local_server(models={"nonsense": tmp_path / "nowhere"})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_a_host_that_others_can_reach_is_refused(host):
    with pytest.raises(ConfigError, match="other machines"):
        serve(ServerOptions(host=host))


def test_such_a_host_is_refused_by_the_process_too_unless_told():
    with pytest.raises(LocalServerError, match="asks nobody for a key"):
        local_server(engine="ledger", host="0.0.0.0")
    with local_server(engine="ledger", host="0.0.0.0", insecure=True) as server:
        assert server.url.startswith("http://0.0.0.0:")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_hosts(host):
    assert is_loopback(host)


def test_a_server_knows_its_state():
    server = LocalServer(engine="ledger")
    assert repr(server) == "<LocalServer not running>"
    with pytest.raises(RuntimeError):
        _ = server.url
    with server:
        assert server.url in repr(server)
        with pytest.raises(RuntimeError):
            server.start()
    server.stop()


@pytest.mark.parametrize("start", [lambda: ta.ServiceClient(base_url="local:"), ta.local_server])
def test_what_the_server_needs_and_is_not_installed_is_named_with_what_installs_it(start, monkeypatch):
    monkeypatch.setitem(sys.modules, "starlette", None)
    with pytest.raises(LocalServerError) as caught:
        start()
    assert str(caught.value) == (
        "starlette can't be imported. Install what the embedded server needs: pip install 'tinker-actors[local]'"
    )
