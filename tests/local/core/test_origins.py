"""Who may call a server: web pages of other sites may not, whatever they send; programs may."""

from __future__ import annotations

import pytest

from tinker_actors.errors import ConfigError
from tinker_actors.local.core.access.origins import Origins, require_read_type
from tinker_actors.local.core.requests.messages import RefusedError

ADDRESS = "192.168.1.5"


def raw(*headers):
    return [(name.encode(), value.encode("latin-1")) for name, value in headers]


def status(headers, allowed=(), address=ADDRESS):
    try:
        Origins(allowed).require_own(raw(*headers), address)
    except RefusedError as refusal:
        return refusal.status
    return 200


def status_of_type(method, *headers):
    try:
        require_read_type(method, raw(*headers))
    except RefusedError as refusal:
        return refusal.status
    return 200


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "localhost:8000", "LOCALHOST.:1", "tinker.localhost:8000", "127.0.0.1", "127.0.0.1:8000",
        "127.8.9.10", "[::1]:8000", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", ADDRESS, f"{ADDRESS}:8000",
    ],
)  # fmt: skip
def test_loopback_and_the_address_that_was_called_are_answered_to(host):
    assert status([("host", host)]) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "192.168.1.6",
        "0.0.0.0", "[::2]", "user@localhost", "localhost/x", "localhost evil", "", "local host", "127.0.0.1:x",
        "127.0.0.1:8000:1", "localhost,evil.example",
    ],
)  # fmt: skip
def test_other_hosts_are_refused(host):
    assert status([("host", host)]) == 403


def test_a_request_that_names_no_host_or_two_of_which_one_is_foreign_is_refused():
    assert status([]) == 403
    assert status([("host", "localhost"), ("host", "evil.example")]) == 403
    assert status([("host", "evil.example"), ("host", "localhost")]) == 403


@pytest.mark.parametrize(
    ("allowed", "host", "expected"),
    [
        ("tinker.lan", "tinker.lan:8000", 200),
        ("Tinker.LAN", "tinker.lan.", 200),
        ("tinker.lan", "other.lan", 403),
        ("tinker.lan", "a.tinker.lan", 403),
        ("*.lan", "a.b.lan", 200),
        ("*.lan", "lan", 403),
        ("*.lan", "evillan", 403),
        ("10.0.0.7", "10.0.0.7:80", 200),
        ("fe80::1", "[fe80::1]:80", 200),
        ("*", "anything.example", 200),
    ],
)
def test_a_host_that_was_allowed_is_answered_to(allowed, host, expected):
    assert status([("host", host)], [allowed]) == expected


@pytest.mark.parametrize("wrong", ["http://x", "x:80", "", "a b", "x/y", "*x", "a.*.b", "*."])
def test_what_is_no_host_can_not_be_allowed(wrong):
    with pytest.raises(ConfigError):
        Origins([wrong])


@pytest.mark.parametrize(
    ("host", "origin", "expected"),
    [
        ("localhost:8000", "http://localhost:8000", 200),
        ("localhost:8000", "HTTP://LOCALHOST:8000", 200),
        ("localhost", "http://localhost:80", 200),
        ("tinker.lan", "https://tinker.lan", 200),
        ("localhost:8000", "http://localhost:3000", 403),
        ("localhost:8000", "http://127.0.0.1:8000", 403),
        ("localhost:8000", "https://evil.example", 403),
        ("localhost:8000", "null", 403),
        ("localhost:8000", "", 403),
        ("localhost:8000", "http://localhost:8000/", 403),
        ("localhost:8000", "file://", 403),
        ("localhost:8000", "moz-extension://localhost:8000", 403),
    ],
)
def test_a_page_may_call_only_the_server_that_it_came_from(host, origin, expected):
    assert status([("host", host), ("origin", origin)], ["tinker.lan"]) == expected
    assert status([("origin", origin), ("host", host)], ["tinker.lan"]) == expected


@pytest.mark.parametrize(
    ("site", "expected"),
    [("cross-site", 403), ("same-site", 403), ("Cross-Site", 403), ("?", 403), ("same-origin", 200), ("none", 200)],
)
def test_what_the_browser_says_about_the_sender_counts(site, expected):
    assert status([("host", "localhost"), ("sec-fetch-site", site)]) == expected


BODY = ("content-length", "2")


@pytest.mark.parametrize(
    "given",
    [
        "application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "application/problem+json",
        "text/json", "application/x-protobuf", "application/protobuf", "application/vnd.google.protobuf",
    ],
)  # fmt: skip
def test_json_and_protobuf_are_read(given):
    for method in ("POST", "PUT", "DELETE"):
        assert status_of_type(method, BODY, ("content-type", given)) == 200


@pytest.mark.parametrize(
    "given",
    [
        "text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=application/json", "text/plain; application/json", "text/html", "json", "",
        "application/octet-stream", "text/plain, application/json",
    ],
)  # fmt: skip
def test_what_a_page_can_send_unasked_is_not_read(given):
    assert status_of_type("POST", BODY, ("content-type", given)) == 415
    assert status_of_type("POST", ("content-type", given)) == 415
    assert status_of_type("POST", BODY, ("content-type", "application/json"), ("content-type", given)) == 415


def test_content_needs_a_type_and_a_request_without_content_none():
    assert status_of_type("POST", BODY) == 415
    assert status_of_type("POST", ("transfer-encoding", "chunked")) == 415
    assert status_of_type("POST") == 200
    assert status_of_type("POST", ("content-length", "0")) == 200
    assert status_of_type("GET", ("content-type", "text/plain")) == 200
