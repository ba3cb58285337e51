"""Requests on their way through the pool: cancelled, too late, answered."""

from __future__ import annotations

import contextlib
import threading

from tinker_actors.net.http_transport import Limits
from tinker_actors.net.transport import Request

HANG = 30.0


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def get(path="/", **options):
    return Request("GET", path, **options)


def mute(server, connection):
    server.stopping.wait(HANG)


def test_a_request_that_gets_no_connection_in_time(start, lane):
    _, transport = start(mute, limits=Limits(max_connections=1))
    first = lane.send(transport, get(timeout=HANG))
    lane.until(lambda: transport.busy == 1)
    answer = lane.send(transport, get(timeout=0.1)).broken()

    assert (answer.kind, answer.phase, answer.sent) == ("timeout", "connect", False)
    assert transport.waiting == 0
    assert not first.answers


def test_a_request_cancelled_while_it_waits_for_a_free_connection(start, lane):
    answer_now = threading.Event()

    def handler(server, connection):
        while server.read_request(connection) is not None:
            answer_now.wait(HANG)
            connection.sendall(OK)

    server, transport = start(handler, limits=Limits(max_connections=1))
    first, second, third = (lane.send(transport, get(path)) for path in ("/1", "/2", "/3"))
    lane.until(lambda: transport.busy == 1)
    lane.call(second.ticket.cancel)
    answer_now.set()
    first.reply()
    third.reply()

    assert not second.answers
    assert [head.split(b" ")[1] for head, _ in server.requests] == [b"/1", b"/3"]


def test_a_request_cancelled_in_flight_closes_its_connection_and_frees_its_place(start, lane):
    begun, hung_up = threading.Event(), threading.Event()

    def handler(server, connection):
        server.read_request(connection)
        if server.connections == 1:
            begun.set()
            with contextlib.suppress(OSError):
                assert connection.recv(1) == b""
            hung_up.set()
        else:
            connection.sendall(OK)

    _, transport = start(handler, limits=Limits(max_connections=1))
    first = lane.send(transport, get())
    second = lane.send(transport, get())
    assert begun.wait(HANG)
    lane.call(first.ticket.cancel)

    assert second.reply().status == 200
    assert hung_up.wait(HANG)
    assert not first.answers


def test_cancelling_after_the_answer_changes_nothing(start, lane):
    _, transport = start()
    answered = lane.send(transport, get())
    answered.reply()
    lane.call(answered.ticket.cancel)

    assert transport.idle == 1


def test_answered_requests_leave_no_timers_and_no_calls_behind(start, lane):
    _, transport = start()
    for answered in [lane.send(transport, get()) for _ in range(20)]:
        answered.reply()

    # One that closes idle connections, and one for all requests that waited equally long.
    assert lane.call(lambda: len(lane.inbox.timers)) == 2
    assert transport.busy == transport.waiting == 0
