"""OpenFiles: grants what is left, counts seldom, and mends its count."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tinker_actors.net.open_files import OpenFiles, count_open_files, file_limit


class System:
    def __init__(self, limit, count):
        self.limit, self.count, self.counted = limit, count, 0

    def files(self):
        return OpenFiles(lambda: self.limit, self._count)

    def _count(self):
        self.counted += 1
        return self.count


def grants(files, most=2_000):
    """Ask until it says no."""
    for count in range(most):
        if not files.grant(0.0):
            return count
    return most


def test_it_grants_up_to_the_limit_less_what_is_open_and_a_reserve():
    assert grants(System(1_000, 300).files()) == 600
    assert grants(System(1_000, 880).files()) == 20
    assert grants(System(1_000, 950).files()) == 0
    assert grants(System(64, 10).files()) == 38
    assert grants(System(20_000, 19_000).files()) == 744


def test_files_on_their_way_are_counted_until_they_are_there():
    system = System(1_000, 300)
    files = system.files()
    assert grants(files) == 600
    for _ in range(100):
        files.arrived()
    system.count += 90  # ten of them were not opened in the end

    assert not files.grant(0.1)
    assert sum(files.grant(1.0) for _ in range(100)) == 10


def test_some_are_granted_always():
    files = System(100, 100).files()

    assert not files.grant(0.0)
    assert files.grant(0.0, always=True)


def test_a_full_process_is_not_counted_at_every_question():
    system = System(100, 100)
    files = system.files()
    for tick in range(1_000):
        assert not files.grant(tick / 1_000)

    assert system.counted <= 5


def test_files_that_were_closed_are_found_by_the_next_count():
    system = System(100, 100)
    files = system.files()
    assert not files.grant(0.0)
    system.count = 50
    assert not files.grant(0.1)

    assert files.grant(1.0)


def test_a_refusal_by_the_system_is_believed_for_a_while():
    files = System(1_000, 10).files()
    assert files.grant(0.0)
    files.exhausted(0.0)
    assert not files.grant(0.1)

    assert files.grant(1.0)


def test_without_a_limit_all_is_granted():
    files = System(None, 10**9).files()

    assert all(files.grant(0.0) for _ in range(5_000))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_this_process_is_counted():
    before = count_open_files()
    ends = os.pipe()
    assert count_open_files() == before + 2
    for end in ends:
        os.close(end)


@pytest.mark.skipif(file_limit() is None, reason="needs a limit")
def test_a_process_that_is_too_full_to_be_counted_is_full(monkeypatch):
    def refuse(listing):
        raise OSError(errno.EMFILE, "Too many open files", listing)

    monkeypatch.setattr(os, "listdir", refuse)
    files = OpenFiles()
    assert count_open_files() == file_limit()
    assert not files.grant(0.0)
    monkeypatch.undo()
    assert files.grant(1.0)


def test_the_limit_is_the_processs_soft_limit():
    resource = pytest.importorskip("resource")
    assert file_limit() in (resource.getrlimit(resource.RLIMIT_NOFILE)[0], None)


CROWDED = """
import json, logging, resource, socket, sys, threading
from tinker_actors.runtime.clock import MonotonicClock
from tinker_actors.net.target import Target
from tinker_actors.net.http_transport import HttpTransport, Limits
from tinker_actors.runtime.selector_inbox import SelectorInbox
from tinker_actors.net.transport import Reply, Request

port, limit, requests, most, eat = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
records = []
handler = logging.Handler()
handler.emit = records.append
logging.getLogger("tinker_actors").addHandler(handler)
clock = MonotonicClock()
inbox = SelectorInbox(clock)
target = Target(scheme="http", host="127.0.0.1", port=port)
transport = HttpTransport(inbox, clock, target, limits=Limits(max_connections=most))
answers, eaten = [], []
top = [0]
def answered(answer):
    answers.append(answer)
    top[0] = max(top[0], transport.open)
    if eat and len(answers) == 1:
        eaten.extend(socket.socket() for _ in range(eat))
        for _ in range(requests):
            transport.send(Request("POST", "/hold", timeout=60.0), answered)
    if len(answers) == requests + bool(eat):
        inbox.put("end")
def begin():
    for _ in range(1 if eat else requests):
        transport.send(Request("POST", "/hold", timeout=60.0), answered)
inbox.post(begin)
while inbox.get() != "end":
    pass
print(json.dumps({
    "replies": sum(isinstance(answer, Reply) for answer in answers),
    "broken": [repr(a) for a in answers if not isinstance(a, Reply)][:3],
    "top": top[0],
    "warnings": [record.getMessage() for record in records if record.levelno >= logging.WARNING],
}))
"""


def crowd(server, *, limit, requests, most=1_000, eat=0):
    """Send many requests from a process that may open few files."""
    import json

    numbers = [str(number) for number in (server.port, limit, requests, most, eat)]
    done = subprocess.run(
        [sys.executable, "-c", CROWDED, *numbers], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def slow(serve):
    """A server that answers each request only when some time has passed, so that requests pile up."""

    def handler(server, connection):
        while server.read_request(connection) is not None:
            server.stopping.wait(0.15)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    return serve(handler)


def test_where_files_are_few_requests_take_turns_and_one_warning_says_what_to_raise(slow):
    pytest.importorskip("resource")
    seen = crowd(slow, limit=64, requests=400)

    assert seen["replies"] == 400, seen
    assert 10 <= seen["top"] <= 48
    (warning,) = seen["warnings"]
    assert "open files" in warning
    assert "ulimit -n" in warning
    assert "64" in warning
    assert "max_connections=1000" in warning


def test_where_the_own_limit_binds_one_warning_names_it(slow):
    seen = crowd(slow, limit=512, requests=60, most=5)

    assert seen["replies"] == 60, seen
    assert seen["top"] == 5
    (warning,) = seen["warnings"]
    assert "Config(max_connections=...)" in warning
    assert "5 connections" in warning
    assert "ulimit" not in warning


def test_when_the_system_refuses_a_file_requests_wait_for_a_connection_that_is_there(slow):
    """Others take nearly all files after the count was made, so that dialing meets EMFILE."""
    pytest.importorskip("resource")
    seen = crowd(slow, limit=64, requests=120, eat=44)

    assert seen["replies"] == 121, seen
    assert len(seen["warnings"]) == 1
    assert "open files" in seen["warnings"][0]
