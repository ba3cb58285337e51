"""HttpTransport: bodies of every size and framing, both ways, over plain TCP and TLS."""

from __future__ import annotations

import contextlib
import ssl
import threading

import pytest

from tinker_actors.net import http_transport
from tinker_actors.net.http_transport import Limits
from tinker_actors.net.transport import Request

HANG = 30.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LARGE = bytes(range(256)) * (5 * 4 * 1024)  # 5 MiB


def get(path="/", **options):
    return Request("GET", path, **options)


def test_a_large_body_reaches_a_slow_reader_without_blocking_the_lane(start, lane):
    may_read = threading.Event()

    def handler(server, connection):
        assert may_read.wait(HANG)
        server.read_request(connection)
        connection.sendall(OK)

    server, transport = start(handler, receive_buffer=16384)
    body = (LARGE[:100], LARGE[100:3_000_000], LARGE[3_000_000:])
    answered = lane.send(transport, Request("POST", "/", body=body))
    lane.until(lambda: transport.busy == 1)
    lane.call(lambda: None)  # the lane is free although nobody reads
    assert not answered.answers
    may_read.set()

    assert answered.reply().status == 200
    assert server.requests[0][1] == LARGE


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_response_in_odd_pieces(start, lane, chunked):
    def handler(server, connection):
        server.read_request(connection)
        if chunked:
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        else:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LARGE))
        position, size = 0, 1
        while position < len(LARGE):
            piece = LARGE[position : position + size]
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            position, size = position + size, min(size * 3 + 1, 700_001)
        connection.sendall(b"0\r\n\r\n" if chunked else b"")
        server.read_request(connection)

    _, transport = start(handler)

    assert lane.send(transport, get()).reply().body == LARGE
    lane.until(lambda: transport.idle == 1)


def test_a_large_body_both_ways_and_an_interim_response_while_sending(start, lane):
    def handler(server, connection):
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        server.read_request(connection)
        body = server.requests[0][1]
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        server.read_request(connection)

    _, transport = start(handler)

    assert lane.send(transport, Request("POST", "/", body=(LARGE,))).reply().body == LARGE
    assert transport.idle == 1


def test_a_whole_response_in_one_tls_record_is_read_without_another_event(
    serve, lane, server_tls, client_tls, monkeypatch
):
    """With a read buffer of 100 bytes most of the record lies in the TLS layer, where no selector sees it."""
    monkeypatch.setattr(http_transport, "_READ_BUFFER", 100)
    body = bytes(range(256)) * 60

    def handler(server, connection):
        while server.read_request(connection) is not None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    server = serve(handler, tls=server_tls)
    transport = lane.transport(server.target(ssl_context=client_tls))
    for _ in range(3):
        assert lane.send(transport, get()).reply().body == body

    assert server.connections == 1


def test_surplus_bytes_in_the_tls_layer_end_the_connection(serve, lane, server_tls, client_tls, monkeypatch):
    monkeypatch.setattr(http_transport, "_READ_BUFFER", len(OK))

    def handler(server, connection):
        server.read_request(connection)
        connection.sendall(OK + b"surplus")
        server.read_request(connection)

    server = serve(handler, tls=server_tls)
    transport = lane.transport(server.target(ssl_context=client_tls))

    assert lane.send(transport, get()).reply().body == b"ok"
    assert transport.open == 0


def test_a_body_until_close(start, lane):
    def handler(server, connection):
        server.read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        if isinstance(connection, ssl.SSLSocket):
            connection.unwrap()

    _, transport = start(handler)

    assert lane.send(transport, get()).reply().body == b"all of it"
    assert transport.open == 0


def test_a_body_until_close_that_tls_did_not_end_was_cut(serve, lane, server_tls, client_tls):
    def handler(server, connection):
        server.read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nnot all of i")

    server = serve(handler, tls=server_tls)
    transport = lane.transport(server.target(ssl_context=client_tls))
    answer = lane.send(transport, get()).broken()

    assert (answer.kind, answer.phase) == ("closed", "body")
    assert "TLS" in answer.message
    assert transport.open == 0


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_responses_without_a_body_leave_the_connection_usable(start, lane, method):
    def handler(server, connection):
        while server.read_request(connection) is not None:
            if method == "HEAD":
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            else:
                connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    server, transport = start(handler)
    for _ in range(3):
        assert lane.send(transport, Request(method, "/")).reply().body == b""

    assert server.connections == 1


def test_an_oversized_body_is_refused_and_the_connection_closed(start, lane):
    def handler(server, connection):
        server.read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(LARGE[:100_000])
        hung_up.set()

    hung_up = threading.Event()
    _, transport = start(handler, limits=Limits(max_body_bytes=1_000_000))

    assert lane.send(transport, get()).broken().kind == "too_large"
    assert hung_up.wait(HANG)


def test_interim_responses_are_skipped(start, lane):
    def handler(server, connection):
        server.read_request(connection)
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + OK)

    _, transport = start(handler)

    assert lane.send(transport, get()).reply().body == b"ok"
