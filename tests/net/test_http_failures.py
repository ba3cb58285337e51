"""HttpTransport: every way an attempt can break, and what the answer says about it."""

from __future__ import annotations

import logging
import socket
import ssl
import struct
import threading

import pytest

from tinker_actors.net.exchange import Exchange
from tinker_actors.net.target import Target
from tinker_actors.net.transport import Request

HANG = 30.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LARGE = bytes(range(256)) * (5 * 4 * 1024)  # 5 MiB


def get(path="/", **options):
    return Request("GET", path, **options)


def mute(server, connection):
    server.stopping.wait(HANG)


def reset(connection):
    """Close with a reset instead of an orderly end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_a_fresh_connection_that_is_reset_is_called_that(serve, lane):
    def handler(server, connection):
        server.read_request(connection)
        reset(connection)

    transport = lane.transport(serve(handler).target())
    answer = lane.send(transport, get()).broken()

    assert (answer.kind, answer.phase, answer.sent) == ("reset", "wait", True)


@pytest.mark.parametrize(
    ("fragment", "phase"),
    [
        (b"", "wait"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "body"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "body"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe", "body"),
    ],
)
@pytest.mark.parametrize("end", ["closed", "timeout"])
def test_a_server_that_stops_in_the_middle(start, lane, fragment, phase, end):
    def handler(server, connection):
        server.read_request(connection)
        connection.sendall(fragment)
        if end == "timeout":
            server.stopping.wait(HANG)

    _, transport = start(handler)
    answer = lane.send(transport, get(timeout=0.3 if end == "timeout" else HANG)).broken()

    assert (answer.kind, answer.phase, answer.sent) == (end, phase, True)
    assert transport.open == 0


def test_a_server_that_does_not_read_is_a_timeout_while_sending(start, lane):
    _, transport = start(mute, receive_buffer=16384)
    answer = lane.send(transport, Request("POST", "/", body=(LARGE, LARGE), timeout=0.3)).broken()

    assert (answer.kind, answer.phase, answer.sent) == ("timeout", "send", True)


def test_a_server_that_refuses_a_large_body_is_heard(start, lane):
    """It answers before it has read the request, then closes: what it said counts more than the failed write."""

    def handler(server, connection):
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        server.stopping.wait(HANG)

    _, transport = start(handler)

    assert lane.send(transport, Request("POST", "/", body=(LARGE, LARGE))).reply().status == 413
    assert transport.open == 0


def test_a_connection_reset_while_sending(start, lane):
    def handler(server, connection):
        connection.recv(1000)
        reset(connection)

    _, transport = start(handler)
    answer = lane.send(transport, Request("POST", "/", body=(LARGE, LARGE))).broken()

    assert answer.phase == "send"
    assert answer.kind in {"reset", "closed", "tls"}
    assert answer.sent


def test_a_refused_connection(lane):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        transport = lane.transport(Target(scheme="http", host="127.0.0.1", port=nobody.getsockname()[1]))
        answers = [answered.broken() for answered in [lane.send(transport, get()) for _ in range(5)]]

    assert {(answer.kind, answer.phase, answer.sent) for answer in answers} == {("connect", "connect", False)}
    assert transport.opening == 0
    assert transport.waiting == 0


@pytest.mark.parametrize("garbage", [b"<html>hello</html>", b"SSH-2.0-OpenSSH\r\n", b"\0" * 100])
def test_garbage_instead_of_http(start, lane, garbage):
    def handler(server, connection):
        server.read_request(connection)
        connection.sendall(garbage)
        server.stopping.wait(HANG)

    _, transport = start(handler)
    answer = lane.send(transport, get()).broken()

    assert answer.kind == "protocol"
    assert transport.open == 0


def test_a_failing_receiver_is_logged_and_the_connection_goes_on(start, lane, caplog):
    failed = threading.Event()

    def fail(answer):
        failed.set()
        raise ZeroDivisionError

    server, transport = start()
    with caplog.at_level(logging.ERROR):
        lane.call(lambda: transport.send(get(), fail))
        assert failed.wait(HANG)
        lane.send(transport, get()).reply()

    assert server.connections == 1
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]


def test_an_error_inside_the_selector_does_not_touch_the_exchanges(start, lane, monkeypatch):
    answer_now = threading.Event()

    def handler(server, connection):
        while server.read_request(connection) is not None:
            answer_now.wait(HANG)
            connection.sendall(OK)

    _, transport = start(handler)
    sent = [lane.send(transport, get()) for _ in range(5)]
    lane.until(lambda: transport.busy == 5)
    failed = threading.Event()

    def fail(timeout):
        failed.set()
        raise OSError(9, "Bad file descriptor")

    lane.call(lambda: monkeypatch.setattr(lane.inbox._poller, "wait", fail))
    assert failed.wait(HANG)
    answer_now.set()

    assert [answered.reply().status for answered in sent] == [200] * 5


def test_a_socket_closed_behind_its_back_fails_only_its_own_exchange(start, lane):
    answer_now = threading.Event()

    def handler(server, connection):
        while server.read_request(connection) is not None:
            answer_now.wait(HANG)
            connection.sendall(OK)

    _, transport = start(handler)
    first, second = lane.send(transport, get()), lane.send(transport, get())
    lane.until(lambda: transport.busy == 2)

    def close_one():
        first.ticket.connection._sock.close()
        lane.inbox._poller.close()  # so that it has to look at its sockets

    lane.call(close_one)
    answer = first.broken()
    answer_now.set()

    assert (answer.kind, answer.phase, answer.sent) == ("reset", "wait", True)
    assert second.reply().status == 200


def test_a_bug_inside_a_socket_callback_fails_its_exchange_and_not_the_lane(start, lane, monkeypatch, caplog):
    _, transport = start()

    def fail(self, data):
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(Exchange, "feed", fail)
        assert lane.send(transport, get()).broken().kind == "reset"

    assert lane.send(transport, get()).reply().status == 200
    assert transport.open == 1


def test_wrong_authority_and_wrong_name_are_tls_failures(serve, lane, server_tls, authority, client_tls):
    other_name = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("other.example").configure_cert(other_name)
    cases = [(server_tls, ssl.create_default_context()), (other_name, client_tls)]
    for server_context, client_context in cases:
        server = serve(tls=server_context)
        answer = lane.send(lane.transport(server.target(ssl_context=client_context)), get()).broken()
        assert (answer.kind, answer.phase, answer.sent) == ("tls", "connect", False)


def test_no_secret_in_any_message_or_repr(serve, lane):
    def handler(server, connection):
        server.read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nSet-Cookie: sec\0ret-reply\r\n\r\n")

    server = serve(handler)
    transport = lane.transport(server.target(), headers=(("X-Api-Key", "secret-key"),))
    answered = lane.send(transport, get(headers=(("X-Own", "secret-own"),)))
    shown = [answered.broken().message, repr(answered.get()), repr(transport), repr(transport._head)]
    shown += [repr(answered.ticket), repr(lane.inbox)]

    assert not [text for text in shown if "sec" in text.replace("seconds", "")]


def test_a_bad_header_is_refused_at_once_and_sends_nothing(serve, lane):
    server = serve()
    transport = lane.transport(server.target())
    with pytest.raises(ValueError, match="X-Own"):
        lane.send(transport, get(headers=(("X-Own", "a\r\nb"),)))

    assert transport.opening == transport.waiting == 0
