"""Connector: opening connections on a few threads, and what can go wrong there."""

from __future__ import annotations

import itertools
import multiprocessing
import queue
import socket
import threading

import pytest

from tinker_actors.net import connector as connector_module
from tinker_actors.net.connector import (
    Connector,
    connector_threads,
    shared_connector,
)
from tinker_actors.net.dialing import open_socket
from tinker_actors.net.target import Target
from tinker_actors.net.transport import Broken

HANG = 30.0


def target(port=1, **options):
    return Target(**{"scheme": "http", "host": "127.0.0.1", "port": port, **options})


def broken(outcome):
    assert isinstance(outcome, Broken), outcome
    assert outcome.phase == "connect"
    assert not outcome.sent
    return outcome


class Doors:
    """Stands in for the network: opening a target on port 1 blocks until told, any other gives a socket pair."""

    def __init__(self):
        self.begun = queue.SimpleQueue()
        self.release = threading.Event()
        self.peers = []

    def __call__(self, target):
        self.begun.put(target)
        if target.port == 1:
            assert self.release.wait(HANG)
        ours, theirs = socket.socketpair()
        self.peers.append(theirs)
        return ours


@pytest.fixture
def doors():
    made = Doors()
    yield made
    made.release.set()
    for peer in made.peers:
        peer.close()


def test_a_mute_host_does_not_keep_others_waiting(doors):
    connector, done = Connector(open_socket=doors), queue.SimpleQueue()
    mute = [connector.open(target(1), done.put) for _ in range(6)]
    assert doors.begun.get(timeout=HANG).port == 1
    for _ in range(20):
        opening = connector.open(target(2), done.put)
        assert done.get(timeout=HANG) is opening
        connector.take(opening).close()

    assert len(connector.threads()) == 2
    assert all(thread.daemon and thread.name.startswith("tinker-actors-connector-") for thread in connector.threads())
    doors.release.set()
    assert {done.get(timeout=HANG) for _ in mute} == set(mute)
    for opening in mute:
        connector.take(opening).close()


def test_several_mute_hosts_do_not_keep_others_waiting(doors):
    connector, done = Connector(open_socket=doors), queue.SimpleQueue()
    hosts = ("a.example", "b.example")
    mute = [connector.open(target(1, host=host), done.put) for _ in range(5) for host in hosts]
    assert {doors.begun.get(timeout=HANG).host for _ in hosts} == set(hosts)
    for _ in range(20):
        opening = connector.open(target(2), done.put)
        assert done.get(timeout=HANG) is opening
        connector.take(opening).close()

    assert len(connector.threads()) == 3
    doors.release.set()
    assert {done.get(timeout=HANG) for _ in mute} == set(mute)
    for opening in mute:
        connector.take(opening).close()


def test_a_thread_that_is_free_goes_to_the_target_that_has_fewest(doors):
    connector, done = Connector(threads=1, open_socket=doors), queue.SimpleQueue()
    held = connector.open(target(1), done.put)
    doors.begun.get(timeout=HANG)
    order = [connector.open(target(port), done.put) for port in (2, 2, 2, 4, 6)]
    doors.release.set()

    assert done.get(timeout=HANG) is held
    assert [done.get(timeout=HANG).target.port for _ in order] == [2, 4, 6, 2, 2]
    for opening in (held, *order):
        connector.take(opening).close()


@pytest.mark.parametrize(("seconds", "threads"), [(0.3, 8), (0.001, 2)])
def test_threads_are_added_where_opening_takes_long_and_end_when_idle(doors, monkeypatch, seconds, threads):
    monkeypatch.setattr(connector_module, "_IDLE_SECONDS", 0.05)
    ticks = itertools.count()
    connector, done = Connector(8, doors, clock=lambda: next(ticks) * seconds), queue.SimpleQueue()
    openings = [connector.open(target(1), done.put) for _ in range(100)]
    doors.begun.get(timeout=HANG)
    most, poll = 0, threading.Event()
    doors.release.set()
    for _ in openings:
        connector.take(done.get(timeout=HANG)).close()
        most = max(most, len(connector.threads()))

    assert most == threads
    while len(connector.threads()) > 2:
        poll.wait(0.01)


def test_one_thread_is_enough_for_one_opening_after_the_other(doors):
    connector, done = Connector(open_socket=doors), queue.SimpleQueue()
    poll = threading.Event()
    for _ in range(10):
        connector.open(target(2), done.put)
        connector.take(done.get(timeout=HANG)).close()
        while not connector._idle:
            poll.wait(0.001)

    assert len(connector.threads()) == 1


def test_an_opening_that_has_not_begun_can_be_withdrawn(doors):
    connector, done = Connector(threads=1, open_socket=doors), queue.SimpleQueue()
    first = connector.open(target(1), done.put)
    doors.begun.get(timeout=HANG)
    second = connector.open(target(2), done.put)
    third = connector.open(target(3), done.put)

    assert not connector.withdraw(first)
    assert connector.withdraw(second)
    doors.release.set()
    assert done.get(timeout=HANG) is first
    assert done.get(timeout=HANG) is third
    assert doors.begun.get(timeout=HANG).port == 3
    for opening in (first, third):
        connector.take(opening).close()


@pytest.mark.parametrize("when", ["under way", "done"])
def test_the_socket_of_an_abandoned_opening_is_closed(doors, when):
    connector, done = Connector(open_socket=doors), queue.SimpleQueue()
    opening = connector.open(target(1), done.put)
    doors.begun.get(timeout=HANG)
    if when == "done":
        doors.release.set()
        done.get(timeout=HANG)
    connector.abandon(opening)
    doors.release.set()
    connector.open(target(2), done.put)  # a later one shows that the first is through
    later = done.get(timeout=HANG)
    connector.take(later).close()

    assert connector.take(opening) is None
    poll = threading.Event()
    while not doors.peers:
        poll.wait(0.001)
    doors.peers[0].settimeout(HANG)
    assert doors.peers[0].recv(1) == b""


def test_an_unexpected_error_becomes_a_broken_and_the_thread_lives_on(caplog):
    def fail(target):
        raise ZeroDivisionError(target.port)

    connector, done = Connector(threads=1, open_socket=fail), queue.SimpleQueue()
    for _ in range(2):
        connector.open(target(5), done.put)
        assert broken(connector.take(done.get(timeout=HANG))).kind == "connect"


def test_a_failing_receiver_does_not_end_the_thread(doors, caplog):
    def fail(opening):
        raise ZeroDivisionError

    connector, done = Connector(threads=1, open_socket=doors), queue.SimpleQueue()
    lost = connector.open(target(2), fail)
    connector.open(target(3), done.put)
    connector.take(done.get(timeout=HANG)).close()
    connector.abandon(lost)


def test_where_no_thread_can_be_started_the_opening_fails_at_once(doors, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    connector, done = Connector(open_socket=doors), []
    monkeypatch.setattr(threading.Thread, "start", refuse)
    opening = connector.open(target(2), done.append)

    assert done == [opening]
    assert broken(connector.take(opening)).kind == "connect"


def test_the_shared_connector_lists_its_threads(serve):
    server, done = serve(lambda server, connection: None), queue.SimpleQueue()
    opening = shared_connector().open(server.target(), done.put)
    done.get(timeout=HANG)
    shared_connector().take(opening).close()

    assert connector_threads()
    assert all(thread in threading.enumerate() for thread in connector_threads())


def _connect_in_child(port, results):
    done = queue.SimpleQueue()
    shared_connector().open(target(port), done.put)
    outcome = shared_connector().take(done.get(timeout=HANG))
    results.put(type(outcome).__name__)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_gets_threads_of_its_own(serve):
    server, done = serve(lambda server, connection: None), queue.SimpleQueue()
    shared_connector().open(server.target(), done.put)
    shared_connector().take(done.get(timeout=HANG)).close()
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=_connect_in_child, args=(server.port, results))
    child.start()
    try:
        assert results.get(timeout=HANG) == "socket"
    finally:
        child.kill()
        child.join()


def test_a_connected_socket_is_non_blocking_and_sends_at_once(serve):
    server = serve(lambda server, connection: None)
    sock = open_socket(server.target())

    assert isinstance(sock, socket.socket)
    assert not sock.getblocking()
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    sock.close()


def test_a_refused_connection_says_so():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        outcome = broken(open_socket(target(port)))

    assert outcome.kind == "connect"
    assert f"127.0.0.1:{port}" in outcome.message
    assert "refused" in outcome.message


def test_an_unknown_host_is_a_connect_failure():
    outcome = broken(open_socket(target(host="no-such-host.invalid", port=80)))

    assert outcome.kind == "connect"
    assert "no-such-host.invalid" in outcome.message
