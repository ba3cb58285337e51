"""Connector: opening connections on a few threads, and what can go wrong there."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import queue
import socket
import ssl
import threading

import pytest
import trustme

from tinker_actors.net import connector as connector_module
from tinker_actors.net.connector import (
    Connector,
    connector_threads,
    shared_connector,
)
from tinker_actors.net.dialing import open_socket
from tinker_actors.net.target import Target, proxy_authorization
from tinker_actors.net.tls_dialing import default_ssl_context
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


def test_tls_works_with_the_right_authority(serve, server_tls, client_tls):
    server = serve(lambda server, connection: connection.recv(1), tls=server_tls)
    sock = open_socket(server.target(ssl_context=client_tls))

    assert isinstance(sock, ssl.SSLSocket)
    assert not sock.getblocking()
    sock.close()


def test_a_certificate_of_another_authority_is_refused(serve, server_tls):
    server = serve(lambda server, connection: connection.recv(1), tls=server_tls)
    other = ssl.create_default_context()
    trustme.CA().configure_trust(other)
    outcome = broken(open_socket(server.target(ssl_context=other)))

    assert outcome.kind == "tls"
    assert "certificate" in outcome.message


def test_a_certificate_for_another_name_is_refused(serve, authority, client_tls):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("other.example").configure_cert(context)
    server = serve(lambda server, connection: connection.recv(1), tls=context)

    assert broken(open_socket(server.target(ssl_context=client_tls))).kind == "tls"


def test_a_full_name_and_the_zone_of_an_address_are_no_part_of_what_a_certificate_names(
    serve, server_tls, client_tls, monkeypatch
):
    server = serve(lambda server, connection: connection.recv(1), tls=server_tls)
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *rest, **more: resolve("127.0.0.1", *rest, **more))
    for host in ("localhost.", "127.0.0.1%lo"):
        sock = open_socket(target(server.port, host=host, scheme="https", ssl_context=client_tls))
        assert isinstance(sock, ssl.SSLSocket)
        sock.close()
    assert broken(
        open_socket(target(server.port, host="localhost.x", scheme="https", ssl_context=client_tls))
    ).kind == ("tls")


def test_the_default_context_refuses_a_self_made_authority_until_the_environment_names_it(
    serve, authority, server_tls, monkeypatch, tmp_path
):
    server = serve(lambda server, connection: connection.recv(1), tls=server_tls)
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    assert broken(open_socket(server.target())).kind == "tls"
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        with monkeypatch.context() as environment:
            environment.setenv(name, str(bundle))
            sock = open_socket(server.target())
            assert isinstance(sock, ssl.SSLSocket)
            sock.close()


def test_default_contexts_verify_and_are_shared(authority, tmp_path, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    for context in (default_ssl_context(), default_ssl_context(str(bundle)), default_ssl_context(str(tmp_path))):
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname
    assert default_ssl_context(str(bundle)) is default_ssl_context(str(bundle))
    with pytest.raises(OSError):
        default_ssl_context(str(tmp_path / "missing.pem"))


def test_plain_http_where_tls_is_expected_is_a_tls_failure(serve, client_tls):
    def speak_plainly(server, connection):
        connection.recv(100)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    server = serve(speak_plainly)

    assert broken(open_socket(server.target(scheme="https", ssl_context=client_tls))).kind == "tls"


def test_a_host_that_is_mute_during_the_handshake_is_a_timeout(serve, client_tls):
    server = serve(lambda server, connection: server.stopping.wait(HANG))
    outcome = broken(open_socket(server.target(scheme="https", ssl_context=client_tls, connect_timeout=0.2)))

    assert outcome.kind == "timeout"


def test_failed_openings_leave_no_socket_behind(serve, server_tls):
    server = serve(lambda server, connection: connection.recv(1), tls=server_tls)
    open_socket(server.target(ssl_context=ssl.create_default_context()))

    def leads_to_server(thing):
        try:
            return isinstance(thing, ssl.SSLSocket) and thing.getpeername()[1] == server.port
        except OSError:  # closed, maybe just now: the server's own is among them
            return False

    assert not [thing for thing in gc.get_objects() if leads_to_server(thing)]


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "http://", "not a url at all"])
def test_a_proxy_of_another_kind_is_refused_with_a_reason(proxy):
    assert "prox" in broken(open_socket(target(proxy=proxy))).message


def test_tls_inside_tls_is_refused_with_a_reason():
    outcome = broken(open_socket(target(scheme="https", proxy="https://user:secret@127.0.0.1:1")))

    assert "TLS" in outcome.message
    assert "secret" not in outcome.message


def test_a_proxys_password_is_in_its_header_and_in_no_repr():
    proxy = "http://user:s%40cret@proxy.example:3128"

    assert proxy_authorization(proxy) == (("Proxy-Authorization", "Basic dXNlcjpzQGNyZXQ="),)
    assert proxy_authorization("http://proxy.example:3128") == ()
    assert "cret" not in repr(target(proxy=proxy))
    assert "proxy.example" in repr(target(proxy=proxy))
