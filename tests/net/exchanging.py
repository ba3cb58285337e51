"""An exchange whose request is out, what it may be answered, and how it ended."""

from __future__ import annotations

import gzip

from tinker_actors.net.exchange import Exchange
from tinker_actors.net.transport import Broken, Reply

HEAD = b"POST /x HTTP/1.1\r\nHost: h\r\n\r\n"

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-One: a\r\n\r\nhello"

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n1;ext=1\r\n \r\n5\r\nworld\r\n0\r\nTrailer: t\r\n\r\n"
)

INTERIM = b"HTTP/1.1 100 Continue\r\nX-Early: 1\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + PLAIN

ZIPPED = gzip.compress(b"hello " * 50)

GZIP = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(ZIPPED) + ZIPPED


def sent(method: str = "POST", **limits: int) -> Exchange:
    exchange = Exchange(method, HEAD, **limits)
    write_all(exchange)
    return exchange


def write_all(exchange: Exchange, step: int = 1 << 30) -> bytes:
    out = b""
    while (data := exchange.next_bytes()) is not None:
        piece = bytes(data[:step])
        out += piece
        exchange.wrote(len(piece))
    return out


def reply(exchange: Exchange) -> Reply:
    assert isinstance(exchange.outcome, Reply), exchange.outcome
    return exchange.outcome


def broken(exchange: Exchange) -> Broken:
    assert isinstance(exchange.outcome, Broken), exchange.outcome
    assert exchange.state == "failed"
    assert not exchange.keep_alive
    return exchange.outcome
