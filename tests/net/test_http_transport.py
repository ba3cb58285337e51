"""HttpTransport: ordinary requests and kept connections, over plain TCP and TLS."""

from __future__ import annotations

import select
import socket
import struct
import threading

from tinker_actors.net.transport import Request

HANG = 30.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def get(path="/", **options):
    return Request("GET", path, **options)


def reset(connection):
    """Close with a reset instead of an orderly end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_an_answer_comes_on_the_lanes_thread(start, lane):
    _, transport = start()
    answered = lane.send(transport, get("/hello"))

    assert answered.reply().body == b"/hello"
    assert answered.threads == [lane.thread.ident]


def test_requests_carry_base_path_headers_and_body(start, lane):
    server, transport = start(base_path="/base", headers=(("X-Key", "k"),))
    lane.send(transport, Request("POST", "/x", headers=(("X-Own", "o"),), body=(b"a", b"bc"))).reply()
    head, body = server.requests[0]

    assert head.startswith(b"POST /base/x HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % server.port)
    assert b"\r\nX-Key: k\r\n" in head
    assert b"\r\nX-Own: o\r\n" in head
    assert b"\r\nAccept-Encoding: identity\r\n" in head
    assert body == b"abc"


def test_connections_are_kept_and_reused(start, lane):
    server, transport = start()
    for number in range(20):
        assert lane.send(transport, get(f"/{number}")).reply().body == b"/%d" % number

    assert server.connections == 1
    assert repr(transport) == f"<HttpTransport {server.target().url} open=1 idle=1 busy=0 opening=0 waiting=0>"


def test_a_request_sent_from_an_answer_finds_the_connection_free(start, lane):
    server, transport = start()
    second = threading.Event()
    lane.call(lambda: transport.send(get(), lambda _: transport.send(get(), lambda _: second.set())))

    assert second.wait(HANG)
    assert server.connections == 1


def test_many_requests_at_once_all_get_their_own_answer(start, lane):
    _, transport = start()
    sent = [lane.send(transport, get(f"/{number}")) for number in range(100)]

    assert [answered.reply().body for answered in sent] == [b"/%d" % number for number in range(100)]


def test_a_connection_the_server_closes_while_idle_is_noticed(start, lane):
    close_now = threading.Event()

    def handler(server, connection):
        server.read_request(connection)
        connection.sendall(OK)
        close_now.wait(HANG)

    server, transport = start(handler)
    lane.send(transport, get()).reply()
    assert transport.idle == 1
    close_now.set()
    lane.until(lambda: transport.open == 0)

    assert lane.send(transport, get()).reply().status == 200
    assert server.connections == 2


def test_an_answer_nobody_asked_for_ends_the_idle_connection(start, lane):
    def handler(server, connection):
        server.read_request(connection)
        connection.sendall(OK)
        unasked.wait(HANG)
        connection.sendall(OK)
        server.read_request(connection)

    unasked = threading.Event()
    _, transport = start(handler)
    lane.send(transport, get()).reply()
    unasked.set()

    lane.until(lambda: transport.open == 0)


def test_a_kept_connection_that_is_dead_before_it_takes_a_byte_is_replaced(serve, lane):
    """The reset arrives while the lane is busy, so it finds out by writing."""
    reset_now, is_reset = threading.Event(), threading.Event()

    def handler(server, connection):
        server.read_request(connection)
        connection.sendall(OK)
        if server.connections == 1:
            reset_now.wait(HANG)
            reset(connection)
            is_reset.set()

    server = serve(handler)
    transport = lane.transport(server.target())
    lane.send(transport, get()).reply()
    assert transport.idle == 1
    second = []

    def send_after_reset():
        reset_now.set()
        assert is_reset.wait(HANG)
        (connection,) = transport._idle
        poller = select.poll()
        poller.register(connection._sock, select.POLLIN)
        assert poller.poll(HANG * 1000)
        transport.send(get(), second.append)

    lane.call(send_after_reset)
    lane.until(lambda: len(second) == 1)

    assert second[0].status == 200
    assert server.connections == 2
