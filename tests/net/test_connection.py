"""Connection: the corners of non-blocking I/O that no ordinary peer can be made to show."""

from __future__ import annotations

import socket
import ssl
import threading

import pytest

from tinker_actors.net.connection import Connection
from tinker_actors.net.exchange import Exchange
from tinker_actors.net.transport import Broken, Reply
from tinker_actors.runtime.selector_inbox import READ, WRITE

HANG = 30.0
HEAD = b"GET / HTTP/1.1\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Moody:
    """A real socket whose next calls raise what a TLS layer or a system sometimes raises.

    A TLS peer can't be told to renegotiate from here, so its moods are played.
    """

    def __init__(self, sock):
        self.sock = sock
        self.on_send = []
        self.on_receive = []

    def fileno(self):
        return self.sock.fileno()

    def close(self):
        self.sock.close()

    def send(self, data):
        if self.on_send:
            raise self.on_send.pop(0)
        return self.sock.send(data)

    def recv_into(self, buffer):
        if self.on_receive:
            raise self.on_receive.pop(0)
        return self.sock.recv_into(buffer)


class Pool:
    def __init__(self):
        self.finished = threading.Event()
        self.gone = threading.Event()

    def on_finished(self, connection):
        self.finished.set()

    def on_gone(self, connection):
        self.gone.set()


class Scene:
    """A connection over a moody socket, its peer, and the exchange on it."""

    def __init__(self, lane):
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.peer.settimeout(HANG)
        self.lane, self.sock, self.pool = lane, Moody(ours), Pool()
        self.exchange = Exchange("GET", HEAD)
        self.connection = lane.call(lambda: Connection(self.sock, lane.inbox, memoryview(bytearray(1000)), self.pool))

    def begin(self):
        return self.lane.call(lambda: self.connection.begin(self.exchange))

    def outcome(self):
        assert self.pool.finished.wait(HANG)
        return self.exchange.outcome


@pytest.fixture
def scene(lane):
    made = Scene(lane)
    yield made
    lane.call(made.connection.close)
    made.peer.close()


def test_a_write_that_has_to_read_first_goes_on_when_there_is_something_to_read(scene):
    scene.sock.on_send = [ssl.SSLWantReadError()]
    scene.sock.on_receive = [ssl.SSLWantReadError()]
    # Waiting for room, of which there is plenty, would spin.
    assert scene.lane.call(lambda: (scene.connection.begin(scene.exchange), scene.connection._events)) == (True, READ)
    scene.peer.send(b"\r\n")
    assert scene.peer.recv(100) == HEAD
    scene.peer.send(OK)

    assert isinstance(scene.outcome(), Reply)


def test_a_read_that_has_to_write_first_goes_on_when_there_is_room(scene):
    scene.sock.on_receive = [ssl.SSLWantWriteError()]
    scene.pool.on_finished = lambda connection: (connection.release(), scene.pool.finished.set())

    def begin_and_read():
        scene.connection.begin(scene.exchange)
        scene.connection.on_ready(READ)
        return scene.connection._events

    assert scene.lane.call(begin_and_read) == READ | WRITE
    scene.peer.send(OK)

    assert isinstance(scene.outcome(), Reply)
    assert scene.sock.on_receive == []
    # Idle now, and it would spin if it still waited for room.
    assert scene.connection._events == READ


def test_a_write_without_room_waits_for_room_and_then_only_for_answers(scene):
    scene.sock.on_send = [BlockingIOError(), BlockingIOError()]
    seen = []

    def begin():
        scene.connection.begin(scene.exchange)
        seen.append(scene.connection._events)

    scene.lane.call(begin)
    assert seen == [READ | WRITE]
    assert scene.peer.recv(100) == HEAD
    scene.lane.until(lambda: scene.connection._events == READ)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionResetError(104, "Connection reset by peer"), "reset"),
        (TimeoutError(110, "Connection timed out"), "timeout"),
        (ssl.SSLError(1, "bad record"), "tls"),
        (ssl.SSLEOFError(8, "EOF occurred"), "closed"),
        (OSError(113, "No route to host"), "reset"),
    ],
)
@pytest.mark.parametrize("where", ["on_send", "on_receive"])
def test_an_error_becomes_the_exchanges_failure_and_never_inside_begin(scene, error, kind, where):
    setattr(scene.sock, where, [error] * 100)

    def begin():
        assert scene.connection.begin(scene.exchange)
        assert scene.exchange.outcome is None

    scene.lane.call(begin)
    if where == "on_receive":
        scene.peer.send(OK)
    outcome = scene.outcome()

    assert isinstance(outcome, Broken)
    assert (outcome.kind, outcome.sent) == (kind, where == "on_receive")
    assert outcome.phase == ("send" if where == "on_send" else "wait")


def test_what_the_server_said_before_a_failed_write_counts(scene):
    scene.sock.on_send = [BrokenPipeError(32, "Broken pipe")]
    # In one go, or the idle connection would be read before the exchange begins.
    scene.lane.call(lambda: (scene.peer.send(OK), scene.connection.begin(scene.exchange)))

    assert isinstance(scene.outcome(), Reply)
    assert not scene.lane.call(scene.connection.release)


def test_a_used_connection_that_takes_no_byte_says_so_and_a_fresh_one_fails(scene):
    scene.connection.served = 1
    scene.sock.on_send = [BrokenPipeError(32, "Broken pipe")]

    assert not scene.begin()
    assert scene.exchange.outcome is None
    assert not scene.exchange.sent
    assert not scene.pool.finished.is_set()


@pytest.mark.parametrize("error", [ConnectionResetError(104, "reset"), ssl.SSLError(1, "bad record")])
def test_an_idle_connection_that_fails_is_gone(scene, error):
    scene.sock.on_receive = [error]
    scene.peer.send(b"x")

    assert scene.pool.gone.wait(HANG)
    assert scene.sock.fileno() == -1


def test_an_idle_connection_that_has_nothing_to_read_after_all_stays(scene):
    scene.sock.on_receive = [ssl.SSLWantReadError()]
    scene.peer.send(b"x")
    scene.lane.until(lambda: not scene.sock.on_receive)
    assert scene.pool.gone.wait(HANG)  # the byte itself, at the next look

    assert not scene.sock.on_receive


def test_a_socket_that_can_not_be_watched_is_closed(lane):
    sock = socket.socket()
    sock.close()
    with pytest.raises((OSError, ValueError)):
        lane.call(lambda: Connection(sock, lane.inbox, memoryview(bytearray(10)), Pool()))
