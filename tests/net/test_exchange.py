"""Exchange: bytes out, bytes in, and the right answer for every way it can end."""

from __future__ import annotations

import gc
import gzip
import itertools
import tracemalloc
import zlib

import pytest
from httptools import HttpResponseParser
from hypothesis import given
from hypothesis import strategies as st

from tinker_actors.net.exchange import _MOVES, _PHASES, Exchange
from tinker_actors.net.transport import Broken, Reply

HEAD = b"POST /x HTTP/1.1\r\nHost: h\r\n\r\n"
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-One: a\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n1;ext=1\r\n \r\n5\r\nworld\r\n0\r\nTrailer: t\r\n\r\n"
)
INTERIM = b"HTTP/1.1 100 Continue\r\nX-Early: 1\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + PLAIN
ZIPPED = gzip.compress(b"hello " * 50)
SMALL = bytes(200_000)
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


@pytest.mark.parametrize("step", [1, 7, 1000, 1 << 30])
@pytest.mark.parametrize("body", [(), (b"abc",), (b"a" * 70_000, b"", b"b" * 300_000, b"c")])
def test_the_request_comes_out_whole_whatever_the_socket_takes_at_once(body, step):
    if step == 1 and sum(map(len, body)) > 1000:
        step = 997
    exchange = Exchange("POST", HEAD, body)

    assert not exchange.sent
    assert write_all(exchange, step) == HEAD + b"".join(body)
    assert exchange.sent
    assert exchange.state == "waiting"


def test_next_bytes_stays_the_same_until_something_was_written():
    exchange = Exchange("POST", HEAD, (b"a" * 700_000,))
    exchange.wrote(len(HEAD))
    exchange.wrote(10)

    assert bytes(exchange.next_bytes()) == bytes(exchange.next_bytes())


@pytest.mark.parametrize(
    ("response", "body"),
    [
        (PLAIN, b"hello"),
        (CHUNKED, b"hello world"),
        (INTERIM, b"hello"),
        (GZIP, b"hello " * 50),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", b""),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", b""),
    ],
)
def test_a_response_split_at_every_byte_boundary_gives_the_same_reply(response, body):
    whole = sent()
    whole.feed(response)
    expected = reply(whole)
    assert expected.body == body

    for cut in range(1, len(response)):
        exchange = sent()
        exchange.feed(response[:cut])
        assert exchange.outcome is None
        exchange.feed(response[cut:])
        got = reply(exchange)
        assert (got.status, got.headers, got.body) == (expected.status, expected.headers, body)
        assert exchange.keep_alive

    single = sent()
    for index in range(len(response)):
        single.feed(response[index : index + 1])
    assert reply(single).body == body


@st.composite
def responses(draw):
    body = draw(st.binary(max_size=300))
    names = st.text("abcdefgh-XYZ", min_size=1, max_size=8).map(lambda text: "X" + text)
    headers = draw(st.dictionaries(names, st.text("abc 123;,=", max_size=10), max_size=4))
    lines = [f"{name}: {value}" for name, value in headers.items()]
    payload = body
    if draw(st.booleans()):
        payload = zlib.compress(body, wbits=31)
        lines.append("Content-Encoding: gzip")
    if draw(st.booleans()):
        sizes = draw(st.lists(st.integers(1, 50), max_size=5))
        chunks, rest = [], payload
        for size in [*sizes, len(rest)]:
            if rest[:size]:
                chunks.append(b"%x\r\n%s\r\n" % (len(rest[:size]), rest[:size]))
            rest = rest[size:]
        lines.append("Transfer-Encoding: chunked")
        payload = b"".join(chunks) + b"0\r\n\r\n"
    else:
        lines.append(f"Content-Length: {len(payload)}")
    status = draw(st.sampled_from([200, 400, 410, 503]))
    interim = draw(st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n"]))
    head = "".join(f"{line}\r\n" for line in [f"HTTP/1.1 {status} S", *lines])
    return interim + head.encode() + b"\r\n" + payload, status, body


@given(responses(), st.lists(st.integers(0, 2000), max_size=10))
def test_any_response_in_any_pieces_gives_the_same_reply(response, cuts):
    data, status, body = response
    whole, pieces = sent(), sent()
    whole.feed(data)
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, end in itertools.pairwise(edges):
        pieces.feed(data[start:end])

    assert (reply(whole).status, reply(whole).body) == (status, body)
    assert (reply(pieces).status, reply(pieces).body) == (status, body)
    assert reply(whole).headers == reply(pieces).headers
    assert whole.keep_alive
    assert pieces.keep_alive


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
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        PLAIN + b"HTTP/1.1 200 OK\r\n",
        PLAIN + b"garbage",
        b"HTTP/1.1 204 N\r\n\r\nbody?",
    ],
)
def test_a_connection_is_not_reused_after(response):
    exchange = sent()
    exchange.feed(response)

    reply(exchange)
    assert not exchange.keep_alive


def test_a_response_before_the_request_is_out_counts_but_ends_the_connection():
    exchange = Exchange("POST", HEAD, (b"a" * 100_000,))
    exchange.wrote(10)
    exchange.feed(PLAIN)

    assert reply(exchange).body == b"hello"
    assert not exchange.keep_alive


def test_an_interim_response_before_the_request_is_out_changes_nothing():
    exchange = Exchange("POST", HEAD, (b"a" * 100_000,))
    exchange.wrote(10)
    exchange.feed(b"HTTP/1.1 100 Continue\r\n\r\n")
    write_all(exchange)
    exchange.feed(PLAIN)

    assert reply(exchange).status == 200
    assert exchange.keep_alive


@pytest.mark.parametrize(
    ("fed", "phase"),
    [
        (b"", "wait"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "wait"),
        (b"H", "body"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "body"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", "body"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "body"),
    ],
)
@pytest.mark.parametrize("kind", ["closed", "timeout", "reset"])
def test_a_break_tells_how_far_things_got(fed, phase, kind):
    exchange = sent()
    exchange.feed(fed)
    if kind == "closed":
        exchange.eof()
    else:
        exchange.fail(kind, "why")

    outcome = broken(exchange)
    assert (outcome.kind, outcome.phase, outcome.sent) == (kind, phase, True)


@pytest.mark.parametrize("written", [0, 5])
def test_a_break_while_sending_tells_whether_anything_left(written):
    exchange = Exchange("POST", HEAD)
    if written:
        exchange.wrote(written)
    exchange.eof()

    outcome = broken(exchange)
    assert (outcome.kind, outcome.phase, outcome.sent) == ("closed", "send", bool(written))


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


def test_the_first_outcome_stays():
    exchange = sent()
    exchange.feed(PLAIN)
    first = exchange.outcome
    exchange.fail("timeout", "late")
    exchange.eof()
    exchange.feed(b"more")

    assert exchange.outcome is first
    assert not exchange.keep_alive


def test_every_state_that_can_break_has_a_phase_and_final_ones_lead_nowhere():
    breakable = {state for state, moves in _MOVES.items() if "broke" in moves}

    assert breakable == set(_PHASES)
    final = {"done", "overfed", "failed"}
    assert {state for state, moves in _MOVES.items() if moves.keys() == {"more"}} == final
    assert {_MOVES[state]["more"] for state in final} <= final
    assert {state for moves in _MOVES.values() for state in moves.values()} <= set(_MOVES)


def test_a_finished_exchange_leaves_nothing_to_the_garbage_collector():
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)  # other threads of the suite make garbage too: ours is told by its type
    try:
        for _ in range(50):
            exchange = sent()
            exchange.feed(PLAIN)
            reply(exchange)
        del exchange
        gc.collect()
        assert [found for found in gc.garbage if isinstance(found, Exchange | HttpResponseParser)] == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
