"""Kept connections that the server is closing: what a request meets there, and what it costs."""

from __future__ import annotations

import random
import socket
import struct
import threading

import pytest

from tinker_actors.net.connector import Connector
from tinker_actors.net.dialing import open_socket
from tinker_actors.net.http_transport import Limits
from tinker_actors.net.transport import Request

HANG = 30.0
SHARE = 0.1
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def post(path="/", **options):
    return Request("POST", path, body=(b"a" * 100_000,), **options)


def end(connection, how):
    if how == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.parametrize("how", ["closed", "reset"])
def test_a_request_that_meets_the_close_of_a_kept_connection_goes_out_again_on_a_fresh_one(start, lane, how):
    def handler(server, connection):
        first = server.connections == 1
        while server.read_request(connection) is not None:
            connection.sendall(OK)
            if first:
                server.read_request(connection)
                end(connection, how)
                return

    server, transport = start(handler)
    lane.send(transport, post("/first")).reply()
    assert lane.send(transport, post("/second")).reply().body == b"ok"

    assert [head.split(b" ")[1] for head, _ in server.requests] == [b"/first", b"/second", b"/second"]
    assert all(body == b"a" * 100_000 for _, body in server.requests)
    assert server.connections == 2


def test_it_goes_out_again_once_and_says_that_it_was_sent(serve, lane):
    """The fresh connection can't be opened any more: the server may have seen the request on the first."""

    def handler(server, connection):
        server.read_request(connection)
        connection.sendall(OK)
        server.read_request(connection)
        server._listener.shutdown(socket.SHUT_RDWR)

    transport = lane.transport(serve(handler).target())
    lane.send(transport, post()).reply()
    broken = lane.send(transport, post()).broken()

    assert (broken.phase, broken.sent) == ("connect", True)


def test_a_fresh_connection_that_is_closed_is_a_failure(start, lane):
    server, transport = start(lambda server, connection: server.read_request(connection))
    broken = lane.send(transport, post()).broken()

    assert (broken.kind, broken.sent) == ("closed", True)
    assert server.connections == 1


def test_an_answer_that_had_begun_is_a_failure(start, lane):
    def handler(server, connection):
        server.read_request(connection)
        connection.sendall(OK)
        server.read_request(connection)
        connection.sendall(OK[:10])

    server, transport = start(handler)
    lane.send(transport, post()).reply()

    assert lane.send(transport, post()).broken().phase == "body"
    assert server.connections == 1


def test_an_unused_idle_connection_counts_as_kept(serve, lane):
    """The server closes it before it carried anything, while the request is on its way."""

    def handler(server, connection):
        if server.connections == 1:
            server.read_request(connection)
        else:
            server.echo_path(connection)

    server = serve(handler)
    begun, go_on = threading.Event(), threading.Event()

    def open_later(target):
        begun.set()
        assert go_on.wait(HANG)
        return open_socket(target)

    transport = lane.transport(server.target(), connector=Connector(open_socket=open_later))
    unused = lane.send(transport, post())
    assert begun.wait(HANG)
    lane.call(unused.ticket.cancel)
    go_on.set()
    lane.until(lambda: transport.idle == 1)

    assert lane.send(transport, post("/x")).reply().body == b"/x"
    assert server.connections == 2


def test_what_must_not_be_sent_twice_has_a_fresh_connection_each_time(start, lane):
    server, transport = start(limits=Limits(max_connections=2))
    for number in range(4):
        lane.send(transport, post(f"/kept/{number}")).reply()
    assert server.connections == 1
    for number in range(4):
        assert lane.send(transport, post(f"/{number}", once=True)).reply().body == b"/%d" % number

    assert server.connections == 5
    assert transport.open <= 2


def test_it_waits_for_its_place_when_all_connections_are_busy(start, lane):
    answer_now = threading.Event()

    def handler(server, connection):
        while server.read_request(connection) is not None:
            answer_now.wait(HANG)
            connection.sendall(OK)

    server, transport = start(handler, limits=Limits(max_connections=2))
    sent = [lane.send(transport, post(once=number % 3 == 0)) for number in range(12)]
    assert transport.waiting > 0
    answer_now.set()
    for answered in sent:
        answered.reply()

    assert len(server.requests) == 12
    assert transport.open <= 2


def test_a_server_that_closes_after_each_answer_soon_gets_no_second_request_on_a_connection(start, lane):
    """It closes when the next request is there, so nobody can see it coming."""
    answered = []

    def handler(server, connection):
        server.read_request(connection)
        answered.append(1)
        connection.sendall(OK)
        if server.read_request(connection) is not None:
            end(connection, "closed")

    server, transport = start(handler)
    for _ in range(20):
        lane.send(transport, post()).reply()

    assert len(answered) == 20
    assert len(server.requests) == 26
    assert transport.idle == 0


def test_many_that_meet_a_close_at_one_moment_are_one_event(start, lane):
    go, all_there = threading.Event(), threading.Barrier(10)

    def handler(server, connection):
        early = not go.is_set()
        while server.read_request(connection) is not None:
            if early and go.is_set():
                end(connection, "closed")
                return
            if early:
                all_there.wait(HANG)
            connection.sendall(OK)

    server, transport = start(handler)
    for answered in [lane.send(transport, post()) for _ in range(10)]:
        answered.reply()
    opened = server.connections
    go.set()
    for answered in [lane.send(transport, post()) for _ in range(10)]:
        answered.reply()
    lane.until(lambda: transport.idle > 0)
    again = server.connections
    for _ in range(10):
        lane.send(transport, post()).reply()

    assert again > opened
    assert server.connections == again


@pytest.mark.parametrize("how", ["closed", "reset"])
def test_where_some_are_closed_by_chance_connections_are_reused_all_the_same(start, lane, how):
    luck, guard = random.Random(5), threading.Lock()

    def handler(server, connection):
        while server.read_request(connection) is not None:
            with guard:
                unlucky = luck.random() < SHARE
            if unlucky:
                end(connection, how)
                return
            connection.sendall(OK)

    server, transport = start(handler, limits=Limits(max_connections=8))
    answered = [lane.send(transport, post()) for _ in range(800)]
    for each in answered:
        each.get()
    assert transport._reuse.allowed
    assert server.connections < 2 * SHARE * len(server.requests) + 8
