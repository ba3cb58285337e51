"""Reading responses: every legal form of headers and bodies, their limits, and what is none."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest

from tinker_actors.net.transport import Broken

from .exchanging import CHUNKED, GZIP, INTERIM, ZIPPED, broken, reply, sent

SMALL = bytes(60_000)


def test_header_names_are_lower_case_the_last_of_a_repeated_name_stays_and_trailers_are_ignored():
    exchange = sent()
    exchange.feed(b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2  \r\n" + CHUNKED.partition(b"\r\n")[2])

    assert reply(exchange).headers == {"x-a": "2", "transfer-encoding": "chunked"}


def test_headers_of_interim_responses_are_dropped():
    exchange = sent()
    exchange.feed(INTERIM)

    assert reply(exchange).headers == {"content-length": "5", "x-one": "a"}


def test_an_inflated_body_is_not_announced_as_compressed():
    exchange = sent()
    exchange.feed(GZIP)

    assert "content-encoding" not in reply(exchange).headers


def coded(encoding: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (encoding, len(body))
    return head + body


def raw_deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


@pytest.mark.parametrize("encoding", [b"", b"identity", b"Identity, identity", b"utf-8", b"aws-chunked", b"none", b","])
def test_words_that_change_nothing_are_passed_over(encoding):
    exchange = sent()
    exchange.feed(coded(encoding, b"hello"))

    assert reply(exchange).body == b"hello"


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        (b"GZIP", gzip.compress(b"hello")),
        (b" x-gzip ", gzip.compress(b"hello")),
        (b"identity, gzip,", gzip.compress(b"hello")),
        (b"deflate", zlib.compress(b"hello")),
        (b"deflate", raw_deflate(b"hello")),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_compressed_bodies_are_read_however_that_is_spelled(encoding, body, at_once):
    exchange = sent()
    answer = coded(encoding, body)
    for piece in [answer] if at_once else [answer[i : i + 1] for i in range(len(answer))]:
        exchange.feed(piece)

    assert reply(exchange).body == b"hello"


@pytest.mark.parametrize("encoding", [b"br", b"zstd", b"gzip, gzip", b"gzip, br"])
def test_codings_that_are_not_read_here_are_refused(encoding):
    exchange = sent()
    exchange.feed(coded(encoding, b"hello"))

    assert isinstance(exchange.outcome, Broken)
    assert "content encoding" in exchange.outcome.message


def test_a_body_without_length_ends_with_the_connection():
    exchange = sent()
    exchange.feed(b"HTTP/1.1 200 OK\r\n\r\nhel")
    exchange.feed(b"lo")
    assert exchange.outcome is None
    exchange.eof()

    assert reply(exchange).body == b"hello"
    assert not exchange.keep_alive


@pytest.mark.parametrize("extra", [b"Content-Length: 99\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_a_response_to_head_has_no_body_whatever_it_announces(extra):
    exchange = sent("HEAD")
    exchange.feed(b"HTTP/1.1 200 OK\r\n" + extra + b"\r\n")

    assert reply(exchange).body == b""
    assert exchange.keep_alive


@pytest.mark.parametrize(
    "response",
    [
        b"<html>hello</html>",
        b"\x16\x03\x01\x00\x00",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ],
)
def test_garbage_is_a_protocol_error(response):
    exchange = sent()
    exchange.feed(response)

    assert broken(exchange).kind == "protocol"


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nxxxx",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 12\r\n\r\n" + ZIPPED[:12],
    ],
)
def test_what_can_not_be_unpacked_is_an_error_of_the_encoding(response):
    exchange = sent()
    exchange.feed(response)

    assert broken(exchange).kind == "encoding"


@pytest.mark.parametrize("piece", [1, 10_000])
@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 2000,
        b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 500,
        b"HTTP/1.1 100 Continue\r\nX: a\r\n\r\n" * 200,
        b"\r\n" * 2000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: aaaaa\r\n" * 500,
    ],
)
def test_endless_headers_are_refused(response, piece):
    exchange = sent(max_header_bytes=1000)
    for start in range(0, len(response), piece):
        if exchange.outcome is None:
            exchange.feed(response[start : start + piece])

    assert broken(exchange).kind == "too_large"


def test_headers_below_the_limit_pass_in_one_piece_and_in_many():
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: " + b"a" * 800 + b"\r\n\r\n"
    for piece in (1, 500, 10_000):
        exchange = sent(max_header_bytes=1000)
        for start in range(0, len(response), piece):
            exchange.feed(response[start : start + piece])
        assert reply(exchange).status == 200


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 101,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"32\r\n" + b"a" * 50 + b"\r\n33\r\n" + b"a" * 51,
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"a" * 100_000),
    ],
)
def test_an_oversized_body_is_refused(response):
    exchange = sent(max_body_bytes=100)
    exchange.feed(response)

    assert broken(exchange).kind == "too_large"


def test_a_body_of_exactly_the_limit_passes():
    for payload, extra in [(b"a" * 100, b""), (gzip.compress(b"a" * 100), b"Content-Encoding: gzip\r\n")]:
        exchange = sent(max_body_bytes=100)
        exchange.feed(b"HTTP/1.1 200 OK\r\n" + extra + b"Content-Length: %d\r\n\r\n" % len(payload) + payload)
        assert reply(exchange).body == b"a" * 100


def small_chunks(payload: bytes) -> bytes:
    return b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(b"1\r\n%c\r\n" % byte for byte in payload) + b"0\r\n\r\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("response", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\n" + small_chunks(SMALL), 65536),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n" + small_chunks(gzip.compress(SMALL, 0)), 65536),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"x") * len(SMALL), 65536),
        (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(SMALL) + SMALL, 1),
        (b"HTTP/1.1 200 OK\r\n\r\n" + SMALL, 1),
    ],
    ids=["chunks", "zipped chunks", "gzip members", "counted", "until close"],
)
def test_a_body_in_tiny_pieces_takes_little_more_memory_than_its_size(response, piece):
    exchange = sent()
    tracemalloc.start()
    try:
        for start in range(0, len(response), piece):
            exchange.feed(response[start : start + piece])
        if exchange.outcome is None:
            exchange.eof()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(reply(exchange).body) == len(SMALL)
    assert peak < 3 * len(SMALL) + 4 * 65536


def test_gzip_of_several_members_is_read_to_its_end():
    payload = gzip.compress(b"one") + gzip.compress(b"two")
    exchange = sent()
    exchange.feed(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(payload) + payload)

    assert reply(exchange).body == b"onetwo"


def test_no_message_repeats_what_the_server_sent():
    for response in (b"HTTP/1.1 200 OK\r\nX: sec\x00ret\r\n\r\n", b"secret", b"HTTP/1.1 2x0 secret\r\n\r\n"):
        exchange = sent()
        exchange.feed(response)
        assert "secret" not in broken(exchange).message
        assert "sec" not in broken(exchange).message.replace("section", "")
