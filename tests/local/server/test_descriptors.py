"""A server that has no descriptor left says so, briefly, and goes on when there are some again."""

from __future__ import annotations

import contextlib
import logging
import os
import socket

import psutil
import pytest
import requests

from tinker_actors.local.process import LocalServer
from tinker_actors.local.quiet import REPEATS, Quiet

pytestmark = pytest.mark.slow

FILES = 60


def test_a_server_out_of_descriptors_says_so_briefly_and_recovers():
    with LocalServer(engine="ledger") as server:
        process = psutil.Process(server.pid)
        process.rlimit(psutil.RLIMIT_NOFILE, (FILES, FILES))
        address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
        with contextlib.ExitStack() as stack:
            for _ in range(2 * FILES):
                stack.enter_context(socket.create_connection(address, timeout=60))
            # The one behind them is heard when they are gone; the server tries again every second.
            waiting = stack.enter_context(socket.create_connection(address, timeout=3))
            waiting.sendall(b"GET /api/v1/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            with contextlib.suppress(TimeoutError):
                assert not waiting.recv(1), "there were descriptors left"
        assert requests.get(f"{server.url}/api/v1/healthz", timeout=60).status_code == 200
        log = os.pread(server._stderr.fileno(), 2**24, 0)
    assert b"out of system resource" in log
    assert len(log) < 50_000


def record(message, level=logging.WARNING, created=0.0):
    found = logging.makeLogRecord({"name": "x", "levelno": level, "msg": message})
    found.created = created
    return found


def test_the_same_thing_is_said_a_few_times_a_minute():
    quiet = Quiet()
    assert [quiet.filter(record("a %s")) for _ in range(100)].count(True) == REPEATS
    assert quiet.filter(record("b"))
    assert all(quiet.filter(record("a %s", logging.INFO)) for _ in range(100))
    later = record("a %s", created=61.0)
    assert quiet.filter(later)
    assert "95 more" in later.msg
