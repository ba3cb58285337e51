"""Hosts with several addresses, of which some lead nowhere."""

from __future__ import annotations

import contextlib
import errno
import socket
import time

import pytest

from tinker_actors.net import racing
from tinker_actors.net.racing import connect, interleaved

HANG = 30.0
V4, V6 = socket.AF_INET, socket.AF_INET6


def entry(family, host, port=1):
    return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port) if family == V4 else (host, port, 0, 0))


@contextlib.contextmanager
def black_hole(family, host, port=0):
    """A listener whose queue is full: what connects to it gets no answer, as from a dead address."""
    with socket.socket(family) as listener, contextlib.ExitStack() as filling:
        if family == V6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(4):
            one = filling.enter_context(socket.socket(family))
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                one.connect(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.fixture
def resolve(monkeypatch):
    def to(*addresses):
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: list(addresses))

    return to


@pytest.fixture
def alive():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(("family", "dead"), [(V6, "::1"), (V4, "127.0.0.2")])
def test_a_dead_address_costs_a_small_part_of_its_time(resolve, alive, family, dead):
    with black_hole(family, dead, alive):
        resolve(entry(family, dead, alive), entry(V4, "127.0.0.1", alive))
        begun = time.monotonic()
        with connect("both.example", alive, HANG) as sock:
            assert sock.getpeername() == ("127.0.0.1", alive)
            assert sock.gettimeout() == HANG
        assert time.monotonic() - begun < HANG / 3


def test_an_address_that_refuses_costs_nothing(resolve, alive, monkeypatch):
    monkeypatch.setattr(racing, "_DELAY", HANG)
    resolve(*(entry(V4, f"127.0.0.{number}", alive) for number in (2, 3, 1)))
    begun = time.monotonic()
    with connect("three.example", alive, HANG) as sock:
        assert sock.getpeername()[0] == "127.0.0.1"
    assert time.monotonic() - begun < HANG / 3


def test_a_slow_address_may_still_win(resolve, alive, monkeypatch):
    """The first is not given up when the second is begun."""
    monkeypatch.setattr(racing, "_DELAY", 0.0)
    with black_hole(V4, "127.0.0.2") as port:
        resolve(entry(V4, "127.0.0.2", port), entry(V4, "127.0.0.1", alive), entry(V4, "127.0.0.2", port))
        with connect("slow.example", alive, HANG) as sock:
            assert sock.getpeername()[0] == "127.0.0.1"


def test_where_all_are_dead_it_takes_the_time_of_one_and_a_delay_for_each_other(resolve):
    with black_hole(V4, "127.0.0.2") as port:
        resolve(*[entry(V4, "127.0.0.2", port)] * 4)
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            connect("dead.example", port, 1.0)
        assert 1.0 <= time.monotonic() - begun < 4.0


def test_the_first_reason_is_told(resolve):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        resolve(entry(V4, "127.0.0.1", port), entry(V4, "255.255.255.255", port))
        with pytest.raises(ConnectionRefusedError):
            connect("none.example", port, 1.0)


def test_nothing_stays_open(resolve, alive, monkeypatch):
    made = []

    class Counted(socket.socket):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            made.append(self)

    with black_hole(V4, "127.0.0.2") as port:
        resolve(entry(V4, "127.0.0.2", port), entry(V4, "127.0.0.1", alive))
        monkeypatch.setattr(socket, "socket", Counted)
        sock = connect("both.example", alive, HANG)
        assert len(made) == 2
        assert [one for one in made if one.fileno() != -1] == [sock]
        sock.close()


def test_no_descriptor_to_be_had_is_told(resolve, monkeypatch):
    def none_left(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    resolve(entry(V4, "127.0.0.1"), entry(V6, "::1"))
    monkeypatch.setattr(socket, "socket", none_left)
    with pytest.raises(OSError, match="open files"):
        racing._Race(1.0).run(racing.deque(socket.getaddrinfo("x", 1)))


def test_families_take_turns():
    a, b, c, d = (entry(V6, f"::{n}") for n in range(4))
    x, y = entry(V4, "127.0.0.1"), entry(V4, "127.0.0.2")
    assert interleaved([a, b, c, x, y]) == [a, x, b, y, c]
    assert interleaved([x, a, b, c, d]) == [x, a, b, c, d]
    assert interleaved([x, y]) == [x, y]
    assert interleaved([]) == []
