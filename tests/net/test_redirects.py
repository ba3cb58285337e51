"""Redirects: followed on the same server with everything that belongs to the request, and nowhere else."""

from __future__ import annotations

import pytest

from tinker_actors.net.redirects import path_to_follow
from tinker_actors.net.transport import Reply, Request

HANG = 30.0
URL = "http://api.example:8000/base/api/v1/asample?x=1"


def reply(location, status=307):
    return Reply(status, {} if location is None else {"location": location}, b"")


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/v2/asample", "/v2/asample"),
        ("other?y=2", "/base/api/v1/other?y=2"),
        ("?y=2", "/base/api/v1/asample?y=2"),
        ("http://api.example:8000/v2#part", "/v2"),
        ("HTTP://API.Example:8000/", "/"),
        ("//api.example:8000", "/"),
    ],
)
def test_the_same_server_is_followed(location, path, status):
    assert path_to_follow(reply(location, status), URL, 0) == path


@pytest.mark.parametrize(
    "location",
    [
        None,
        "",
        "https://api.example:8000/v2",
        "http://api.example/v2",
        "http://api.example:8001/v2",
        "http://other.example:8000/v2",
        "http://user:pass@api.example:8000/v2",
        "//other.example/v2",
        "http://[broken/v2",
        "http://api.example:port/v2",
        "/a b",
        "/\u00e4",
        "/a\tb",
        "ftp://api.example:8000/v2",
    ],
)
def test_everything_else_is_not(location):
    assert path_to_follow(reply(location), URL, 0) is None


@pytest.mark.parametrize("status", [200, 300, 301, 302, 303, 304, 305, 404, 500])
def test_no_other_status_is(status):
    assert path_to_follow(reply("/v2", status), URL, 0) is None


def test_the_default_port_is_that_of_the_scheme():
    assert path_to_follow(reply("https://api.example/v2"), "https://api.example:443/x", 0) == "/v2"
    assert path_to_follow(reply("http://api.example:443/v2"), "https://api.example/x", 0) is None


def test_a_request_goes_on_with_method_body_and_headers(start, lane):
    def handler(server, connection):
        while (head := server.read_request(connection)) is not None:
            path = head.split(b" ")[1]
            if path.startswith(b"/base"):
                location = b"Location: /moved%s" % path
                connection.sendall(b"HTTP/1.1 308 Moved\r\n%s\r\nContent-Length: 3\r\n\r\ngo!" % location)
            else:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path))

    server, transport = start(handler, base_path="/base", headers=(("X-Api-Key", "secret"),))
    for once in (False, True):
        request = Request("POST", "/x?y=1", (("X-Own", "a"),), (b"body",), own_headers=(("X-Once", "b"),), once=once)
        assert lane.send(transport, request).reply().body == b"/moved/base/x?y=1"

    for head, body in server.requests:
        assert head.startswith(b"POST ")
        assert body == b"body"
        assert {b"X-Api-Key: secret", b"X-Own: a", b"X-Once: b"} <= set(head.split(b"\r\n"))


def test_a_server_that_leads_in_circles_is_left_after_a_few_rounds(start, lane):
    def handler(server, connection):
        while server.read_request(connection) is not None:
            connection.sendall(b"HTTP/1.1 307 T\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")

    server, transport = start(handler)

    assert lane.send(transport, Request("POST", "/")).reply().status == 307
    assert len(server.requests) == 6


def test_another_server_hears_nothing(serve, lane):
    other = serve()

    def handler(server, connection):
        server.read_request(connection)
        location = b"http://127.0.0.1:%d/" % other.port
        connection.sendall(b"HTTP/1.1 307 T\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % location)
        server.read_request(connection)

    transport = lane.transport(serve(handler).target())

    assert lane.send(transport, Request("POST", "/")).reply().status == 307
    assert other.connections == 0


def test_a_redirected_request_that_is_given_up_is_given_up(start, lane):
    def handler(server, connection):
        while (head := server.read_request(connection)) is not None:
            if head.split(b" ")[1] == b"/there":
                server.stopping.wait(HANG)
            else:
                connection.sendall(b"HTTP/1.1 307 T\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n")

    server, transport = start(handler)
    timed = lane.send(transport, Request("POST", "/", timeout=0.3))
    assert timed.broken().kind == "timeout"
    cancelled = lane.send(transport, Request("POST", "/"))
    lane.until(lambda: len(server.requests) == 4)
    lane.call(cancelled.ticket.cancel)

    assert transport.open == transport.waiting == 0
    assert not cancelled.answers
