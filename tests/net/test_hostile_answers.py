"""Answers that somebody made to do harm: bombs, two that look like one, certificates that are none."""

from __future__ import annotations

import datetime as dt
import gzip
import ssl
import tracemalloc
import zlib

import pytest
import trustme

from tinker_actors.net.exchange import Exchange
from tinker_actors.net.http_transport import Limits
from tinker_actors.net.transport import Broken, Reply, Request

MIB = 2**20
HEAD = b"POST /x HTTP/1.1\r\nHost: h\r\n\r\n"


def asked(**limits: int) -> Exchange:
    exchange = Exchange("POST", HEAD, **limits)
    exchange.wrote(len(exchange.next_bytes()))
    return exchange


def bomb(wbits: int, size: int = 500 * MIB) -> bytes:
    """Return a stream that unpacks to so many zeros, and ends with a checksum that nobody should get to."""
    packing = zlib.compressobj(9, zlib.DEFLATED, wbits)
    # Behind a full flush nothing depends on what was before: the second can be repeated.
    first, second = (packing.compress(bytes(MIB)) + packing.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + second * (size // MIB - 1) + packing.flush()


GZIP, DEFLATE = bomb(31), bomb(15)


@pytest.mark.parametrize(("coding", "body"), [(b"gzip", GZIP), (b"deflate", DEFLATE)])
@pytest.mark.parametrize("piece", [1 << 30, 65_536])
def test_a_bomb_is_refused_before_it_has_unpacked(coding, body, piece):
    exchange = asked(max_body_bytes=4 * MIB)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (coding, len(body))
    tracemalloc.start()
    try:
        for start in range(0, len(body), piece):
            if exchange.outcome is None:
                exchange.feed((head if start == 0 else b"") + body[start : start + piece])
        assert tracemalloc.get_traced_memory()[1] < 32 * MIB
    finally:
        tracemalloc.stop()
    assert isinstance(exchange.outcome, Broken)
    assert exchange.outcome.kind == "too_large"


def test_a_bomb_through_a_socket_is_a_failure_and_the_next_request_is_well(start, lane):
    bombs = [b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(GZIP) + GZIP]

    def handler(server, connection):
        while server.read_request(connection) is not None:
            connection.sendall(bombs.pop() if bombs else b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    _, transport = start(handler, limits=Limits(max_body_bytes=MIB))
    assert lane.send(transport, Request("GET", "/")).broken().kind == "too_large"
    assert lane.send(transport, Request("GET", "/")).reply().body == b"ok"


def test_a_bomb_in_a_bomb_is_not_unpacked():
    exchange = asked(max_body_bytes=4 * MIB)
    body = gzip.compress(GZIP)
    exchange.feed(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip, gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    assert isinstance(exchange.outcome, Broken)
    assert exchange.outcome.kind == "encoding"


SECOND = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhidden"
"""In the body of the answer for one reader, and an answer of its own for another."""


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 0\r\nContent-Length: %d\r\n" % len(SECOND),
        b"Content-Length: 0, %d\r\n" % len(SECOND),
        b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n" % len(SECOND),
        b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n" % len(SECOND),
        b"Content-Length: +%d\r\n" % len(SECOND),
        b"Content-Length: -1\r\n",
        b"Content-Length: 0x10\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
        b"Content-Length : %d\r\n" % len(SECOND),
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"X: a\rContent-Length: %d\r\n" % len(SECOND),
        b"X: a\x00b\r\n",
    ],
)
def test_what_is_behind_an_answer_that_can_be_read_in_two_ways_is_nobodys(headers):
    exchange = asked()
    exchange.feed(b"HTTP/1.1 200 OK\r\n" + headers + b"\r\n" + b"0\r\n\r\n" + SECOND)
    if exchange.outcome is None:
        exchange.eof()
    assert isinstance(exchange.outcome, Broken | Reply)
    assert not exchange.keep_alive


def dated(authority: trustme.CA, begins: int, ends: int) -> ssl.SSLContext:
    """Return a server's context whose certificate is good from and until so many days from now."""
    now = dt.datetime.now(dt.UTC)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    days = dt.timedelta(days=1)
    made = authority.issue_cert("127.0.0.1", not_before=now + begins * days, not_after=now + ends * days)
    made.configure_cert(context)
    return context


@pytest.mark.parametrize("name", ["expired", "not yet good", "of another authority", "for another name"])
def test_a_bad_certificate_gets_no_request(serve, lane, authority, client_tls, name):
    heads = []
    if name == "expired":
        tls = dated(authority, -2, -1)
    elif name == "not yet good":
        tls = dated(authority, 1, 2)
    else:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        other = trustme.CA() if name == "of another authority" else authority
        other.issue_cert("127.0.0.1" if other is not authority else "other.example").configure_cert(tls)

    def handler(server, connection):
        heads.append(server.read_request(connection))

    transport = lane.transport(serve(handler, tls=tls).target(ssl_context=client_tls))
    outcome = lane.send(transport, Request("GET", "/")).broken()
    assert (outcome.kind, outcome.sent) == ("tls", False)
    assert not any(heads)
