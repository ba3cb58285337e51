"""Pollers and bells: those of this system and those of others behave alike."""

from __future__ import annotations

import os
import select
import socket
import threading

import pytest

from tinker_actors.runtime import selector_inbox
from tinker_actors.runtime.bell import EventBell, SocketBell
from tinker_actors.runtime.poller import READ, WRITE, EpollPoller, SelectorsPoller
from tinker_actors.runtime.selector_inbox import SelectorInbox

from .owners import Owner

HANG = 30.0
POLLERS = [SelectorsPoller, *([EpollPoller] if hasattr(select, "epoll") else [])]
BELLS = [SocketBell, *([EventBell] if hasattr(os, "eventfd") else [])]


@pytest.fixture(params=POLLERS)
def poller(request):
    made = request.param()
    yield made
    made.close()


@pytest.fixture(params=BELLS)
def bell(request):
    made = request.param()
    yield made
    made.close()


def test_readiness_is_told_in_the_two_words_of_the_inbox(poller, pair):
    ours, theirs = pair
    fd = ours.fileno()
    poller.register(fd, READ)
    assert poller.wait(0) == []
    theirs.send(b"x")
    assert poller.wait(HANG) == [(fd, READ)]
    poller.modify(fd, READ | WRITE)
    assert poller.wait(HANG) == [(fd, READ | WRITE)]
    poller.modify(fd, WRITE)
    assert poller.wait(HANG) == [(fd, WRITE)]
    poller.unregister(fd)
    assert poller.wait(0) == []


def test_a_hang_up_is_news_for_who_only_reads(poller, pair):
    ours, theirs = pair
    poller.register(ours.fileno(), READ)
    theirs.shutdown(socket.SHUT_RDWR)
    ((fd, events),) = poller.wait(HANG)

    assert fd == ours.fileno()
    assert events & READ


def test_many_ready_descriptors_are_all_told_of_in_some_rounds(poller):
    pairs = [socket.socketpair() for _ in range(100)]
    for ours, theirs in pairs:
        poller.register(ours.fileno(), READ)
        theirs.send(b"x")
    seen = set()
    for _ in range(100):
        for fd, _ in poller.wait(0):
            seen.add(fd)
            poller.unregister(fd)

    assert seen == {ours.fileno() for ours, _ in pairs}
    for ours, theirs in pairs:
        ours.close()
        theirs.close()


def test_a_bell_is_heard_once_however_often_it_was_rung(poller, bell):
    poller.register(bell.fileno(), READ)
    assert poller.wait(0) == []
    for _ in range(5_000):
        bell.ring()
    assert poller.wait(HANG) == [(bell.fileno(), READ)]
    bell.hush()
    assert poller.wait(0) == []
    bell.hush()


def test_a_closed_bell_rings_nowhere_and_raises_nothing(bell):
    number = bell.fileno()
    bell.close()
    bell.close()
    assert bell.fileno() == -1
    ours, theirs = socket.socketpair()  # which may get the bell's number
    theirs.setblocking(False)
    ours.setblocking(False)
    for _ in range(10):
        bell.ring()
        bell.hush()
    for end in (ours, theirs):
        with pytest.raises(BlockingIOError):
            end.recv(100)
    ours.close()
    theirs.close()
    assert number >= 0


def test_a_bell_whose_number_was_taken_over_lets_go_of_it(bell):
    ours, theirs = socket.socketpair()
    number = bell.fileno()
    os.dup2(ours.fileno(), number)
    assert bell.detach() == number
    bell.close()
    bell.ring()
    theirs.send(b"still open")
    copy = socket.socket(fileno=number)

    assert copy.recv(100) == b"still open"
    for sock in (copy, ours, theirs):
        sock.close()


@pytest.mark.parametrize("poller_kind", POLLERS)
@pytest.mark.parametrize("bell_kind", BELLS)
def test_an_inbox_works_on_any_of_them(poller_kind, bell_kind, monkeypatch, pair):
    monkeypatch.setattr(selector_inbox, "make_poller", poller_kind)
    monkeypatch.setattr(selector_inbox, "make_bell", bell_kind)
    inbox, received, rang = SelectorInbox(), [], threading.Event()

    def live():
        while (message := inbox.get()) != "end":
            received.append(message)

    ours, theirs = pair
    owner = Owner(ours)
    inbox.register(ours, READ, owner)
    thread = threading.Thread(target=live)
    thread.start()
    theirs.send(b"x")
    assert owner.ready.wait(HANG)
    inbox.post(lambda: inbox.timers.call_at(0.0, rang.set))
    assert rang.wait(HANG)
    for number in range(200):
        inbox.put(number)
    inbox.put("end")
    thread.join(HANG)
    inbox.close()

    assert received == list(range(200))


def test_an_event_of_a_socket_that_was_closed_in_the_same_round_does_not_reach_the_next_with_its_number(inbox):
    """Both are ready; the first to be asked closes the other and opens a new socket, which gets its number."""
    pairs = [socket.socketpair() for _ in range(2)]
    made = []

    class Closing(Owner):
        def on_ready(self, events):
            super().on_ready(events)
            if not made:
                victim = next(owner for owner in owners if owner is not self)
                inbox.unregister(victim.sock)
                number = victim.sock.fileno()
                victim.sock.close()
                new, peer = socket.socketpair()
                assert number in (new.fileno(), peer.fileno())
                owner = Owner(new if new.fileno() == number else peer)
                made.append((owner, new, peer))
                inbox.register(owner.sock, READ, owner)

    owners = [Closing(ours) for ours, _ in pairs]
    for owner, (_, theirs) in zip(owners, pairs, strict=True):
        inbox.register(owner.sock, READ, owner)
        theirs.send(b"x")
    inbox.put("message")
    inbox.post(lambda: None)
    inbox._turn()

    assert sum(len(owner.events) for owner in owners) == 1
    assert made[0][0].events == []
    assert made[0][0].errors == []
    for _, theirs in pairs:
        theirs.close()
    for end in (*made[0][1:], *(ours for ours, _ in pairs)):
        end.close()
