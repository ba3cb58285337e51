"""Opening connections in TLS: whom it trusts, and how it fails."""

from __future__ import annotations

import gc
import socket
import ssl

import pytest
import trustme

from tinker_actors.net.dialing import open_socket
from tinker_actors.net.target import Target
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
