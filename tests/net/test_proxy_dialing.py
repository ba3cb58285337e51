"""Proxies that are really in the way: CONNECT for https, whole URLs for http."""

from __future__ import annotations

import socket
import threading

import pytest

from tinker_actors.net.connector import (
    Connector,
)
from tinker_actors.net.dialing import open_socket
from tinker_actors.net.target import Target
from tinker_actors.net.transport import Broken, Reply, Request

HANG = 30.0


def relay(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # one side hung up; the other thread sees it too


def connect_proxy(server, connection):
    """Open a tunnel for one CONNECT request and pass bytes both ways."""
    head = server.read_request(connection)
    host, _, port = head.split(b" ")[1].rpartition(b":")
    with socket.create_connection((host.decode(), int(port))) as upstream:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        back = threading.Thread(target=relay, args=(upstream, connection))
        back.start()
        relay(connection, upstream)
        back.join(HANG)


def say(text):
    def handler(server, connection):
        while server.read_request(connection) is not None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))

    return handler


def test_https_goes_through_a_connect_tunnel_and_checks_the_servers_own_certificate(
    serve, lane, server_tls, client_tls
):
    server = serve(say(b"origin"), tls=server_tls)
    proxy = serve(connect_proxy)
    target = server.target(ssl_context=client_tls, proxy=f"http://user:pass@127.0.0.1:{proxy.port}")
    transport = lane.transport(target, headers=(("X-Api-Key", "secret"),))
    for _ in range(3):
        answer = lane.send(transport, Request("POST", "/x", body=(b"a" * 100_000,))).get()
        assert isinstance(answer, Reply), answer
        assert answer.body == b"origin"

    assert proxy.connections == 1
    head = proxy.requests[0][0]
    assert head.startswith(b"CONNECT 127.0.0.1:%d HTTP/1." % server.port)
    assert b"Proxy-Authorization: Basic dXNlcjpwYXNz" in head
    assert b"secret" not in head
    seen_by_server = server.requests[0][0]
    assert seen_by_server.startswith(b"POST /x HTTP/1.1\r\n")
    assert b"Proxy-Authorization" not in seen_by_server


def test_plain_http_through_a_proxy_names_the_whole_url(serve, lane):
    proxy = serve(say(b"proxy"))
    direct = serve(say(b"direct"))
    target = direct.target(host="no-such-host.invalid", port=8080, proxy=f"http://u:p@127.0.0.1:{proxy.port}")
    answer = lane.send(lane.transport(target, "/base"), Request("GET", "/x?y=1")).get()

    assert isinstance(answer, Reply), answer
    assert answer.body == b"proxy"
    head = proxy.requests[0][0]
    assert head.startswith(
        b"GET http://no-such-host.invalid:8080/base/x?y=1 HTTP/1.1\r\nHost: no-such-host.invalid:8080\r\n"
    )
    assert b"\r\nProxy-Authorization: Basic dTpw" in head


def test_plain_http_through_a_proxy_that_is_spoken_to_in_tls(serve, lane, server_tls, client_tls):
    proxy = serve(say(b"proxy"), tls=server_tls)
    target = proxy.target(
        scheme="http", host="no-such-host.invalid", ssl_context=client_tls, proxy=f"https://127.0.0.1:{proxy.port}"
    )
    answer = lane.send(lane.transport(target), Request("GET", "/")).get()

    assert isinstance(answer, Reply), answer
    assert proxy.requests[0][0].startswith(b"GET http://no-such-host.invalid:")


def test_a_proxy_that_refuses_the_tunnel_is_a_connect_failure_without_the_password(serve, lane, client_tls):
    def refuse(server, connection):
        server.read_request(connection)
        connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

    proxy = serve(refuse)
    target = proxy.target(
        scheme="https", host="api.invalid", ssl_context=client_tls, proxy=f"http://u:hush@127.0.0.1:{proxy.port}"
    )
    answer = lane.send(lane.transport(target), Request("GET", "/")).get()

    assert isinstance(answer, Broken)
    assert (answer.kind, answer.phase, answer.sent) == ("connect", "connect", False)
    assert "through the proxy: " in answer.message
    assert "407" in answer.message
    assert "hush" not in answer.message


def dripping(server, connection):
    """Answer a CONNECT by a byte now and then, for ever."""
    server.read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while not server.stopping.wait(0.02):
        connection.sendall(b"X: a\r\n")


def test_a_proxy_that_drips_its_answer_has_no_more_time_than_another(serve):
    proxy = serve(dripping)
    target = Target(
        scheme="https", host="api.example", port=443, proxy=f"http://127.0.0.1:{proxy.port}", connect_timeout=0.3
    )
    broken = open_socket(target)

    assert isinstance(broken, Broken)
    assert (broken.kind, broken.sent) == ("timeout", False)


def test_hosts_behind_a_proxy_that_drips_do_not_keep_others_waiting(serve, lane):
    """More of them than there are threads; those that were given up stay on theirs for a while."""
    proxy, healthy = serve(dripping), serve()
    connector = Connector(threads=4, few=2)
    stuck = [
        lane.transport(
            Target(
                scheme="https",
                host=f"host{number}.example",
                port=443,
                proxy=f"http://127.0.0.1:{proxy.port}",
                connect_timeout=HANG,
            ),
            connector=connector,
        )
        for number in range(12)
    ]
    waiting = [lane.send(transport, Request("GET", "/")) for transport in stuck]
    lane.until(lambda: proxy.connections >= 1)
    transport = lane.transport(healthy.target(), connector=connector)
    assert lane.send(transport, Request("GET", "/x")).reply().body == b"/x"
    for one in stuck:
        lane.call(one.close)
    other = lane.transport(healthy.target(connect_timeout=HANG), connector=connector)
    assert lane.send(other, Request("GET", "/y")).reply().body == b"/y"
    assert not any(answered.answers for answered in waiting)


def target(port=1, **options):
    return Target(**{"scheme": "http", "host": "127.0.0.1", "port": port, **options})


def broken(outcome):
    assert isinstance(outcome, Broken), outcome
    assert outcome.phase == "connect"
    assert not outcome.sent
    return outcome


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "http://", "not a url at all"])
def test_a_proxy_of_another_kind_is_refused_with_a_reason(proxy):
    assert "prox" in broken(open_socket(target(proxy=proxy))).message


def test_tls_inside_tls_is_refused_with_a_reason():
    outcome = broken(open_socket(target(scheme="https", proxy="https://user:secret@127.0.0.1:1")))

    assert "TLS" in outcome.message
    assert "secret" not in outcome.message
