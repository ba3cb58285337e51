"""Exchange: bytes out, bytes in, and the right answer for every way it can end."""

from __future__ import annotations

import gc
import itertools
import zlib

import pytest
from httptools import HttpResponseParser
from hypothesis import given
from hypothesis import strategies as st

from tinker_actors.net.exchange import _MOVES, _PHASES, Exchange

from .exchanging import CHUNKED, GZIP, HEAD, INTERIM, PLAIN, broken, reply, sent, write_all


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
