"""HttpTransport: limits, order, cancelling and closing."""

from __future__ import annotations

import contextlib
import queue
import socket
import struct
import threading

from tinker_actors.net.http_transport import Limits
from tinker_actors.net.transport import Request

HANG = 30.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def get(path="/", **options):
    return Request("GET", path, **options)


def reset(connection):
    """Close with a reset instead of an orderly end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_the_most_recently_used_idle_connection_is_taken_first_and_old_ones_are_closed(start, lane):
    both, used = threading.Barrier(2), queue.SimpleQueue()

    def handler(server, connection):
        first = True
        while server.read_request(connection) is not None:
            if first:
                both.wait(HANG)
                first = False
            used.put(connection.fileno())
            connection.sendall(OK)
        used.put("closed")

    _, transport = start(handler, limits=Limits(idle_seconds=0.3))
    for answered in [lane.send(transport, get()) for _ in range(2)]:
        answered.reply()
    assert transport.idle == 2
    assert used.get(timeout=HANG) != used.get(timeout=HANG)
    for _ in range(5):
        lane.send(transport, get()).reply()
    assert len({used.get(timeout=HANG) for _ in range(5)}) == 1
    assert [used.get(timeout=HANG) for _ in range(2)] == ["closed", "closed"]
    assert transport.open == 0


def test_requests_beyond_the_limit_wait_in_order(start, lane):
    server, transport = start(limits=Limits(max_connections=1))
    sent = [lane.send(transport, get(f"/{number}")) for number in range(30)]
    for answered in sent:
        answered.reply()

    assert server.connections == 1
    assert [head.split(b" ")[1] for head, _ in server.requests] == [b"/%d" % number for number in range(30)]


def test_who_waits_keeps_its_place_when_the_freed_connection_is_dead(serve, lane):
    """The answer and a reset arrive together; the next in line finds the connection dead and stays the next."""
    answer_now, is_reset = threading.Event(), threading.Event()

    def handler(server, connection):
        if server.connections > 1:
            server.echo_path(connection)
            return
        server.read_request(connection)
        answer_now.wait(HANG)
        connection.sendall(OK)
        reset(connection)
        is_reset.set()

    server = serve(handler)
    transport = lane.transport(server.target(), limits=Limits(max_connections=1))
    sent = [lane.send(transport, get(f"/{number}")) for number in range(4)]
    lane.until(lambda: transport.busy == 1)
    lane.call(lambda: (answer_now.set(), is_reset.wait(HANG)))

    assert [answered.reply().body for answered in sent] == [b"ok", b"/1", b"/2", b"/3"]
    assert [head.split(b" ")[1] for head, _ in server.requests] == [b"/0", b"/1", b"/2", b"/3"]
    assert server.connections == 2


def test_a_connection_that_ends_makes_room_for_those_who_wait(start, lane):
    def handler(server, connection):
        server.read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")

    server, transport = start(handler, limits=Limits(max_connections=2))
    for answered in [lane.send(transport, get()) for _ in range(10)]:
        assert answered.reply().status == 200

    assert server.connections == 10


def test_an_answer_arrives_under_a_flooded_mailbox(start, lane):
    """100,000 messages from another thread, each put again until the answer is there."""
    _, transport = start()
    answers = []
    lane.send(transport, get()).reply()

    def again(message):
        if not answers:
            lane.inbox.put(message)

    lane.on_message = again
    flood = threading.Thread(target=lambda: [lane.inbox.put(number) for number in range(100_000)])
    flood.start()
    lane.inbox.post(lambda: transport.send(get("/flooded"), answers.append))
    flood.join()
    lane.until(lambda: bool(answers))

    assert answers[0].body == b"/flooded"


def test_close_drops_everything_without_an_answer(start, lane):
    seen = queue.SimpleQueue()

    def handler(server, connection):
        server.read_request(connection)
        seen.put("request")
        with contextlib.suppress(OSError):
            assert connection.recv(1) == b""
        seen.put("closed")

    _, transport = start(handler, limits=Limits(max_connections=2))
    sent = [lane.send(transport, get(timeout=0.5)) for _ in range(4)]
    assert [seen.get(timeout=HANG) for _ in range(2)] == ["request"] * 2
    lane.call(transport.close)
    assert [seen.get(timeout=HANG) for _ in range(2)] == ["closed"] * 2
    late = lane.send(transport, get()).broken()

    assert (late.kind, late.sent) == ("closed", False)
    assert not any(answered.answers for answered in sent)
    assert not lane.call(lambda: len(lane.inbox.timers))
    assert repr(transport).endswith("open=0 idle=0 busy=0 opening=0 waiting=0 closed>")
