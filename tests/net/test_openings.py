"""Connections on their way: taken back, given up, or closed when they come too late."""

from __future__ import annotations

import threading

import pytest

from tinker_actors.net.connector import Connector
from tinker_actors.net.dialing import open_socket
from tinker_actors.net.transport import Request

HANG = 30.0


def get(path="/", **options):
    return Request("GET", path, **options)


class Gate:
    """Opens real connections, but not before it is told to."""

    def __init__(self):
        self.begun = threading.Event()
        self.release = threading.Event()
        self.count = 0

    def __call__(self, target):
        self.count += 1
        self.begun.set()
        assert self.release.wait(HANG)
        return open_socket(target)


@pytest.fixture
def gate():
    made = Gate()
    yield made
    made.release.set()


def test_a_request_cancelled_before_its_connection_is_open(serve, lane, gate):
    server = serve()
    transport = lane.transport(server.target(), connector=Connector(open_socket=gate))
    cancelled = lane.send(transport, get("/cancelled"))
    assert gate.begun.wait(HANG)
    lane.call(cancelled.ticket.cancel)
    lane.call(cancelled.ticket.cancel)
    assert transport.waiting == 0
    gate.release.set()
    lane.until(lambda: transport.idle == 1)

    assert lane.send(transport, get("/later")).reply().body == b"/later"
    assert server.connections == 1
    assert not cancelled.answers


def test_openings_nobody_waits_for_are_taken_back(serve, lane, gate):
    server = serve()
    transport = lane.transport(server.target(), connector=Connector(threads=1, open_socket=gate))
    sent = [lane.send(transport, get(timeout=0.2)) for _ in range(20)]
    assert {answered.broken().phase for answered in sent} == {"connect"}
    assert transport.opening == 1
    gate.release.set()
    lane.until(lambda: transport.idle == 1)

    assert gate.count == 1


def test_a_connection_that_opens_after_close_is_closed(serve, lane, gate):
    ended = threading.Event()

    def handler(server, connection):
        connection.recv(1)
        ended.set()

    server = serve(handler)
    transport = lane.transport(server.target(), connector=Connector(open_socket=gate))
    lane.send(transport, get())
    assert gate.begun.wait(HANG)
    lane.call(transport.close)
    gate.release.set()

    assert ended.wait(HANG)
