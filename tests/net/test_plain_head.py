"""plain_head: what is read without a parser is what the parser would have read."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tinker_actors.net import plain_head as module
from tinker_actors.net.exchange import Exchange
from tinker_actors.net.plain_head import plain_head
from tinker_actors.net.response_reader import ResponseReader
from tinker_actors.net.transport import Reply

REQUEST = b"POST /x HTTP/1.1\r\nHost: h\r\n\r\n"
STATUS = b"HTTP/1.1 200 OK\r\n"


def ready() -> Exchange:
    exchange = Exchange("POST", REQUEST)
    exchange.wrote(len(REQUEST))
    return exchange


def quick(data: bytes) -> Exchange | None:
    """Feed an exchange, and return it if it did without the parser."""
    exchange = ready()
    made = []
    original = ResponseReader.__init__
    try:
        ResponseReader.__init__ = lambda self, *args, **kwargs: (made.append(1), original(self, *args, **kwargs))[1]
        exchange.feed(data)
    finally:
        ResponseReader.__init__ = original
    return None if made else exchange


def parsed(data: bytes) -> Exchange:
    """Feed an exchange that has to use the parser."""
    exchange = ready()
    exchange._reader = ResponseReader(exchange, is_head=False, max_head=65536, max_body=1 << 28)
    exchange.feed(data)
    return exchange


def same(data: bytes) -> bool:
    """Compare both ways; return whether the quick one was taken."""
    left, right = quick(data), parsed(data)
    if left is None:
        return False
    if left.outcome is None:
        assert right.outcome is None
        assert left.state == right.state == "body"
        return True
    assert isinstance(left.outcome, Reply)
    assert isinstance(right.outcome, Reply), right.outcome
    assert (left.outcome.status, left.outcome.headers, left.outcome.body) == (
        right.outcome.status,
        right.outcome.headers,
        right.outcome.body,
    )
    assert left.keep_alive == right.keep_alive
    assert left.state == right.state == "done"
    return True


NAMES = st.sampled_from(
    [
        b"Content-Length",
        b"content-length",
        b"Content-Type",
        b"Transfer-Encoding",
        b"Connection",
        b"Content-Encoding",
        b"Date",
        b"Set-Cookie",
        b"Upgrade",
        b"Trailer",
        b"X",
        b"X-A_b",
        b"",
        b"a b",
        b" x",
        b"\tx",
        b"x ",
        b"\x80",
        b":",
    ]
) | st.binary(max_size=6)
VALUES = st.sampled_from(
    [
        b"0",
        b"2",
        b"3",
        b"03",
        b"+3",
        b"-1",
        b" 3",
        b"3 ",
        b"3\t",
        b"3,3",
        b"0x3",
        b"3\r",
        b"99999999999999999999",
        b"chunked",
        b"identity",
        b"gzip",
        b"close",
        b"keep-alive",
        b"Keep-Alive",
        b"close, keep-alive",
        b"upgrade",
        b"",
        b"a\r\n b",
        b"a\nb",
        b"a\rb",
        b"a\x00b",
        b"\x7f",
        b"\xe9",
        b"\x01",
        b"text/plain",
        b"h2c",
    ]
) | st.binary(max_size=6)
STATUS_LINES = st.sampled_from(
    [b"HTTP/1.1 %d X\r\n" % code for code in (100, 101, 200, 204, 205, 206, 304, 404, 408, 429, 500, 503, 599, 600)]
    + [
        b"HTTP/1.1 200 \r\n",
        b"HTTP/1.1 200\r\n",
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/1.1  200 OK\r\n",
        b"http/1.1 200 OK\r\n",
    ]
    + [b"HTTP/1.1 200 O\tK\r\n", b"HTTP/1.1 200 \xe9\r\n", b"HTTP/1.1 200 OK\n", b"HTTP/2 200 OK\r\n", b"\r\n" + STATUS]
    + [b"HTTP/1.1 200 a\rb\r\n", b"HTTP/1.1 20 OK\r\n", b"HTTP/1.1 2000 OK\r\n", STATUS, STATUS]
)
ENDS = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\r\n", b"\r\n\n"])
LINES = st.lists(st.tuples(NAMES, st.sampled_from([b": ", b":", b" : ", b":\t"]), VALUES, ENDS), max_size=4)
CLOSE_AND_KEEP = [(b"Connection", b":", word, b"\r\n") for word in (b"close", b"keep-alive")]
LENGTHS = st.sampled_from([b"Content-Length: 3\r\n"] * 3 + [b"Content-Length: 0\r\n", b""])


@given(STATUS_LINES, LENGTHS, LINES, st.booleans(), ENDS, st.sampled_from([b"abc", b"", b"ab", b"abcd", b"abcHTTP"]))
@example(STATUS, b"Content-Length: 3\r\n", [(b"Content-Length", b": ", b"3", b"\r\n")], True, b"\r\n", b"abc")
@example(
    STATUS,
    b"Content-Length: 3\r\n",
    [(b"Connection", b":", b"close", b"\r\n"), (b"Connection", b":", b"keep-alive", b"\r\n")],
    True,
    b"\r\n",
    b"abc",
)
def test_where_the_parser_is_not_asked_it_would_have_said_the_same(status, length, lines, first, end, body):
    others = b"".join(name + colon + value + stop for name, colon, value, stop in lines)
    same(status + (length + others if first else others + length) + end + body)


@given(st.binary(max_size=12), st.binary(max_size=12), st.binary(max_size=12))
def test_bytes_of_any_kind_in_reason_name_and_value_are_read_alike(reason, name, value):
    same(b"HTTP/1.1 200 " + reason + b"\r\n" + name + b":" + value + b"\r\nContent-Length: 2\r\n\r\nok")


@pytest.mark.parametrize(
    "head",
    [
        STATUS + b"Content-Length: 3\r\n\r\n",
        b"HTTP/1.1 404 \r\ncontent-length:3\r\nX: \t a b\t \r\n\r\n",
        b"HTTP/1.1 503 No\r\nConnection: keep-alive\r\nContent-Length: 3\r\nX: \xe9\r\nX: 2\r\n\r\n",
        b"HTTP/1.1 429 Slow down\r\nDate: Sat, 21 Nov 2026 05:00:00 GMT\r\nContent-Length: 3\r\n\r\n",
    ],
)
def test_ordinary_heads_need_no_parser(head):
    assert same(head + b"abc")
    assert same(head + b"a")
    assert same(head)
    assert not same(head + b"abcd")


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 3\r\nContent-Length: 3\r\n",
        b"Content-Length: 3\r\nContent-Length: 4\r\n",
        b"Content-Length: 3, 3\r\n",
        b"Content-Length: +3\r\n",
        b"Content-Length: 3_0\r\n",
        b"Content-Length: \xb2\r\n",
        b"Content-Length: 9999999999999999\r\n",
        b"Content-Length:\r\n",
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: identity\r\nContent-Length: 3\r\n",
        b"Content-Length: 3\r\nContent-Encoding: gzip\r\n",
        b"Content-Length: 3\r\nConnection: close\r\n",
        b"Connection: close\r\nConnection: keep-alive\r\nContent-Length: 3\r\n",
        b"Content-Length: 3\r\nUpgrade: h2c\r\n",
        b"Content-Length: 3\r\nX: a\r\n folded\r\n",
        b"Content-Length: 3\r\nX: a\rb\r\n",
        b"Content-Length: 3\r\nX: a\nY: b\r\n",
        b"Content-Length: 3\r\nX : a\r\n",
        b"Content-Length : 3\r\n",
        b"Content-Length: 3\r\nX: \0\r\n",
        b"Content-Length: 3\r\nno colon\r\n",
        b"X: y\r\n",
        b"",
    ],
)
def test_whatever_could_be_framed_in_another_way_is_left_to_the_parser(lines):
    assert plain_head(STATUS + lines + b"\r\n") is None
    assert quick(STATUS + lines + b"\r\nabc") is None


@pytest.mark.parametrize("status", [100, 101, 199, 204, 205, 304, 600])
def test_statuses_that_say_themselves_whether_there_is_a_body_are_left_to_the_parser(status):
    assert plain_head(b"HTTP/1.1 %d X\r\nContent-Length: 3\r\n\r\n" % status) is None


def test_a_response_to_head_is_left_to_the_parser():
    exchange = Exchange("HEAD", REQUEST)
    exchange.wrote(len(REQUEST))
    exchange.feed(STATUS + b"Content-Length: 3\r\n\r\n")

    assert isinstance(exchange.outcome, Reply)
    assert exchange.outcome.body == b""


def test_an_answer_that_comes_before_the_request_is_out_does_not_keep_the_connection():
    exchange = Exchange("POST", REQUEST)
    exchange.wrote(5)
    exchange.feed(STATUS + b"Content-Length: 3\r\n\r\nabc")

    assert isinstance(exchange.outcome, Reply)
    assert not exchange.keep_alive


@pytest.mark.parametrize("extra", [b"", b"HTTP/1.1 200 OK\r\n", b"x"])
@pytest.mark.parametrize("cut", [0, 1, 2])
def test_a_counted_body_in_pieces_ends_where_it_says(cut, extra):
    exchange = ready()
    exchange.feed(STATUS + b"Content-Length: 5\r\n\r\n" + b"hello"[:cut])
    exchange.feed(b"hello"[cut:4])
    assert exchange.outcome is None
    exchange.feed(b"o" + extra)

    assert isinstance(exchange.outcome, Reply)
    assert exchange.outcome.body == b"hello"
    assert exchange.keep_alive is (not extra)


def test_a_counted_body_that_breaks_off_is_no_answer():
    exchange = ready()
    exchange.feed(STATUS + b"Content-Length: 5\r\n\r\nhell")
    exchange.eof()

    assert exchange.outcome.kind == "closed"
    assert exchange.outcome.phase == "body"


def test_limits_hold_without_the_parser_too():
    exchange = Exchange("POST", REQUEST, (), 64, 100)
    exchange.wrote(len(REQUEST))
    exchange.feed(STATUS + b"Content-Length: 101\r\n\r\n")
    assert exchange.outcome.kind == "too_large"

    exchange = Exchange("POST", REQUEST, (), 64, 100)
    exchange.wrote(len(REQUEST))
    exchange.feed(STATUS + b"Content-Length: 0\r\nX: " + b"a" * 64 + b"\r\n\r\n")
    assert exchange.outcome.kind == "too_large"


def test_what_one_receiver_does_to_his_headers_is_not_seen_by_the_next():
    replies = []
    for _ in range(2):
        exchange = ready()
        exchange.feed(STATUS + b"Content-Length: 0\r\nX: y\r\n\r\n")
        replies.append(exchange.outcome)
        exchange.outcome.headers["x"] = "changed"

    assert replies[0].headers is not replies[1].headers
    assert plain_head(STATUS + b"Content-Length: 0\r\nX: y\r\n\r\n").headers["x"] == "y"


def test_what_is_remembered_is_bounded_in_number_and_size():
    module._remembered.clear()
    for number in range(1_000):
        assert plain_head(STATUS + b"Content-Length: %d\r\n\r\n" % number).length == number
    assert len(module._remembered) <= module._MOST_REMEMBERED
    module._remembered.clear()
    assert plain_head(STATUS + b"Content-Length: 1\r\nX: " + b"a" * 5_000 + b"\r\n\r\n").length == 1
    assert not module._remembered


def test_the_parser_itself_is_strict_about_what_these_tests_rely_on():
    """Its word is what is compared with; should another version read lengths leniently, this tells."""
    for lines in (b"Content-Length: 1\r\nContent-Length: 2\r\n", b"Content-Length: 1 2\r\n"):
        with pytest.raises(httptools.HttpParserError):
            httptools.HttpResponseParser(object()).feed_data(STATUS + lines + b"\r\n")
