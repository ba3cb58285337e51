"""Bytes that nobody asked for: no request gets them for an answer, as far as they can be told apart."""

from __future__ import annotations

import logging
import select
import socket
import threading

import pytest

from tinker_actors.net import connection as connections
from tinker_actors.net.http_transport import Limits
from tinker_actors.net.transport import Request

HANG = 30.0


def get(path="/", **options):
    return Request("GET", path, **options)


def answer(path):
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path)


def doubling(server, connection):
    while (head := server.read_request(connection)) is not None:
        connection.sendall(answer(head.split(b" ")[1]) * 2)


def test_an_answer_that_comes_twice_is_given_once_and_no_connection_is_used_again(start, lane, caplog):
    server, transport = start(doubling)
    with caplog.at_level(logging.WARNING, logger="tinker_actors"):
        for number in range(5):
            assert lane.send(transport, get(f"/{number}")).reply().body == b"/%d" % number

    assert server.connections == 5
    assert transport.open == 0
    assert len([record for record in caplog.records if "nobody asked for" in record.message]) == 1


@pytest.mark.parametrize("late", [b"HTTP/1.1 200 OK\r\n", b"x"])
def test_bytes_that_come_while_a_connection_is_idle_end_it(start, lane, late):
    more = threading.Event()

    def handler(server, connection):
        head = server.read_request(connection)
        connection.sendall(answer(head.split(b" ")[1]))
        more.wait(HANG)
        connection.sendall(late)
        server.read_request(connection)

    _, transport = start(handler)
    lane.send(transport, get()).reply()
    assert transport.idle == 1
    more.set()

    lane.until(lambda: transport.open == 0)
    assert not transport._reuse.allowed


def test_bytes_that_lie_there_when_the_next_request_is_sent_from_the_answer_are_seen(start, lane):
    """No round of the inbox lies between: the connection is looked at before it is used."""
    more = threading.Event()

    def handler(server, connection):
        first = server.connections == 1
        while (head := server.read_request(connection)) is not None:
            connection.sendall(answer(head.split(b" ")[1]))
            if first:
                more.wait(HANG)
                connection.sendall(answer(b"/another's"))

    server, transport = start(handler)
    second = []

    def send_second(_):
        (connection,) = transport._idle
        more.set()
        readable = select.poll()
        readable.register(connection._sock, select.POLLIN)
        assert readable.poll(HANG * 1000)
        transport.send(get("/second"), second.append)

    lane.call(lambda: transport.send(get("/first"), send_second))
    lane.until(lambda: bool(second))

    assert second[0].body == b"/second"
    assert server.connections == 2


def test_bytes_seen_in_the_same_round_as_the_request_are_not_its_answer(serve, lane):
    """Two sockets are ready: what the first sends goes on the second, whose own event comes after."""
    release, ready = threading.Event(), threading.Event()

    def handler(server, connection):
        noisy = server.connections == 1
        while (head := server.read_request(connection)) is not None:
            path = head.split(b" ")[1]
            if path == b"/wait":
                ready.wait(HANG)
            connection.sendall(answer(path))
            if noisy:
                release.wait(HANG)
                connection.sendall(answer(b"/another's"))
                ready.set()

    server = serve(handler)
    transport = lane.transport(server.target())
    last = []

    def both_ready():
        """Hold the lane until the late bytes and the awaited answer have both arrived."""
        release.set()
        for connection in transport._connections:
            readable = select.poll()
            readable.register(connection._sock, select.POLLIN)
            assert readable.poll(HANG * 1000)

    lane.send(transport, get("/noisy")).reply()
    (idle,) = transport._idle
    transport_idle = dict(transport._idle)
    lane.call(transport._idle.clear)
    lane.call(lambda: transport.send(get("/wait"), lambda _: transport.send(get("/last"), last.append)))
    lane.until(lambda: len(server.requests) == 2)
    lane.call(lambda: (transport._idle.update(transport_idle), both_ready()))
    lane.until(lambda: bool(last))

    assert idle is not None
    assert last[0].body == b"/last"


def test_a_goodbye_is_no_noise(start, lane):
    """A balancer that announces by an unrequested 408 that it closes an idle connection."""
    more = threading.Event()

    def handler(server, connection):
        server.read_request(connection)
        connection.sendall(answer(b"/"))
        if server.connections == 1:
            more.wait(HANG)
            connection.sendall(b"HTTP/1.0 408 Request Time-out\r\nConnection: close\r\n\r\n")

    _, transport = start(handler)
    lane.send(transport, get()).reply()
    more.set()
    lane.until(lambda: transport.open == 0)

    assert transport._reuse.allowed


def test_a_rejected_answer_ends_its_connection_and_whoever_is_on_it_by_then_asks_anew(start, lane):
    """With one connection allowed, the request that waits has it before the answer is looked at."""
    held = threading.Event()

    def handler(server, connection):
        while (head := server.read_request(connection)) is not None:
            held.wait(HANG)
            connection.sendall(answer(head.split(b" ")[1]))

    server, transport = start(handler, limits=Limits(max_connections=1))
    tickets, first, second = [], [], []

    def reject(got):
        first.append(got)
        tickets[0].reject()

    lane.call(lambda: tickets.append(transport.send(get("/first"), reject)))
    lane.call(lambda: transport.send(get("/second"), second.append))
    held.set()
    lane.until(lambda: bool(second))

    assert (first[0].body, second[0].body) == (b"/first", b"/second")
    assert server.connections == 2


@pytest.mark.parametrize("tls", [False, True])
def test_a_watched_idle_connection_is_not_looked_at_again(serve, lane, server_tls, client_tls, tls, monkeypatch):
    """The poller watches it: a request after a pause costs no system call more than it did."""
    glances = []
    make = connections.make_glance

    def counted(fd):
        glance = make(fd)
        return lambda timeout: glances.append(fd) or glance(timeout)

    monkeypatch.setattr(connections, "make_glance", counted)
    server = serve(tls=server_tls if tls else None)
    transport = lane.transport(server.target(ssl_context=client_tls))
    for _ in range(5):
        lane.send(transport, get()).reply()
        for _ in range(3):  # each call is a round of the inbox
            lane.call(lambda: None)
    assert glances == []

    done = []
    lane.call(lambda: transport.send(get(), lambda _: transport.send(get(), done.append)))
    lane.until(lambda: bool(done))
    assert len(glances) == 1
    assert isinstance(next(iter(transport._connections))._sock, socket.socket)
