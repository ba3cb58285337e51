"""RequestHead: what stands on the wire before the body."""

from __future__ import annotations

import pytest

from tinker_actors.net import request_head
from tinker_actors.net.request_head import RequestHead, authority
from tinker_actors.net.transport import Request


def test_a_head_holds_line_host_fixed_and_own_headers_and_length():
    head = RequestHead("api.example", "/base", (("X-Key", "k"),))
    request = Request("POST", "/x?y=1", headers=(("X-Own", "ö"),), body=(b"ab", b"c"))

    assert head.render(request) == (
        (
            b"POST /base/x?y=1 HTTP/1.1\r\nHost: api.example\r\nX-Key: k\r\nAccept-Encoding: identity\r\n"
            b"X-Own: \xf6\r\nContent-Length: 3\r\n\r\nabc"
        ),
        (),
    )


def test_a_large_body_stays_in_its_pieces():
    body = (b"a" * 70_000, b"b")
    first, rest = RequestHead("h").render(Request("POST", "/", body=body))

    assert first.endswith(b"Content-Length: 70001\r\n\r\n")
    assert rest is body


def test_what_only_one_request_has_is_sent_and_not_remembered():
    head = RequestHead("h")
    sent = [head.render(Request("POST", "/", own_headers=(("X-Key", str(number)),)))[0] for number in range(1_000)]

    assert all(b"\r\nX-Key: %d\r\n" % number in each for number, each in enumerate(sent))
    assert len(head._known) == 1
    with pytest.raises(ValueError, match="X-Key"):
        head.render(Request("POST", "/", own_headers=(("X-Key", "a\r\nX-Evil: 1"),)))


@pytest.mark.parametrize("name", ["Accept", "accept", "ACCEPT"])
def test_a_requests_own_header_replaces_the_one_that_is_always_sent(name):
    head = RequestHead("h", "", (("Accept", "application/json"), ("X-Key", "k")))
    for own in ("application/x-protobuf, application/json", "text/plain"):
        sent, _ = head.render(Request("GET", "/", headers=((name, own),)))
        assert sent.lower().count(b"\r\naccept:") == 1
        assert f"{name}: {own}\r\n".encode() in sent
        assert b"X-Key: k\r\n" in sent
    again, _ = head.render(Request("GET", "/"))

    assert again.count(b"Accept: application/json\r\n") == 1


def test_what_is_remembered_of_requests_is_bounded():
    head = RequestHead("h")
    for number in range(1_000):
        sent, _ = head.render(Request("GET", f"/{number}", headers=(("Idempotency-Key", str(number)),)))
        assert sent.startswith(b"GET /%d HTTP/1.1\r\n" % number)
        assert b"Idempotency-Key: %d\r\n" % number in sent

    assert len(head._known) <= request_head._MOST_KNOWN


@pytest.mark.parametrize(("method", "says_zero"), [("GET", False), ("DELETE", False), ("POST", True), ("PUT", True)])
def test_only_methods_that_expect_a_body_say_that_there_is_none(method, says_zero):
    head, _ = RequestHead("h").render(Request(method, "/"))

    assert (b"Content-Length: 0\r\n" in head) is says_zero


@pytest.mark.parametrize(
    ("scheme", "host", "port", "expected"),
    [
        ("http", "h", 80, "h"),
        ("https", "h", 443, "h"),
        ("http", "h", 443, "h:443"),
        ("http", "::1", 8000, "[::1]:8000"),
    ],
)
def test_the_authority_leaves_out_the_usual_port_and_brackets_ipv6(scheme, host, port, expected):
    assert authority(scheme, host, port) == expected


@pytest.mark.parametrize("value", ["secret\r\nX: y", "secret\n", "secret\0", "secret\u20ac"])
def test_a_header_that_could_smuggle_is_refused_by_name_without_its_value(value):
    with pytest.raises(ValueError, match="X-Key") as fixed:
        RequestHead("h", "", (("X-Key", value),))
    with pytest.raises(ValueError, match="X-Key") as own:
        RequestHead("h").render(Request("GET", "/", headers=(("X-Key", value),)))

    for caught in (fixed, own):
        assert "secret" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\nb", "ä"])
def test_a_name_that_is_no_token_is_refused(name):
    with pytest.raises(ValueError):
        RequestHead("h", "", ((name, "v"),))


@pytest.mark.parametrize("path", ["/a b", "/a\r\nX: y", "/ä", "/\x7f"])
def test_a_path_that_is_not_encoded_is_refused(path):
    with pytest.raises(ValueError, match="percent-encoded"):
        RequestHead("h").render(Request("GET", path))


@pytest.mark.parametrize(
    ("scheme", "host", "port", "expected"),
    [
        ("http", "api.example", 80, "api.example"),
        ("https", "api.example", 80, "api.example:80"),
        ("http", "::1", 8000, "[::1]:8000"),
        ("http", "fe80::1%eth0", 80, "[fe80::1]"),
    ],
)
def test_the_authority_has_the_port_where_it_matters_and_no_zone(scheme, host, port, expected):
    assert authority(scheme, host, port) == expected
    assert f"Host: {expected}\r\n".encode() in RequestHead(authority(scheme, host, port)).render(Request("GET", "/"))[0]
