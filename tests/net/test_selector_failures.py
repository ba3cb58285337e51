"""SelectorInbox: errors in callbacks, sockets and the selector itself do not end the lane."""

from __future__ import annotations

import logging
import os
import select
import socket
import threading

import pytest

from tinker_actors.net.open_files import count_open_files
from tinker_actors.runtime import selector_inbox
from tinker_actors.runtime.selector_inbox import READ, WRITE, SelectorInbox

from ..pykka_internals import with_inbox  # noqa: TID252 - the tests are no package that is installed
from .owners import Owner

HANG = 30.0


@pytest.mark.parametrize("error", [RuntimeError("boom"), SystemExit(3), KeyboardInterrupt()])
def test_a_failing_callback_is_logged_and_the_lane_lives_on(lane, error, caplog):
    def fail():
        raise error

    with caplog.at_level(logging.ERROR):
        lane.inbox.post(fail)
        lane.call(lambda: lane.inbox.timers.call_at(0.0, fail))
        lane.inbox.put("alive")
        assert lane.messages.get(timeout=HANG) == "alive"
        lane.call(lambda: None)

    assert sum(record.exc_info[1] is error for record in caplog.records) == 2


def test_a_failing_socket_callback_is_logged_told_to_its_owner_and_not_repeated(lane, pair, caplog):
    ours, theirs = pair
    error = ZeroDivisionError("boom")

    def fail():
        raise error

    owner = Owner(ours, on_ready=fail)
    lane.call(lambda: lane.inbox.register(ours, READ, owner))
    with caplog.at_level(logging.ERROR):
        theirs.send(b"never read, so the socket stays ready")
        assert owner.lost.wait(HANG)
        for _ in range(5):
            lane.call(lambda: None)

    assert owner.errors == [error]
    assert len(owner.events) == 1
    assert any(record.levelno == logging.ERROR and record.exc_info for record in caplog.records)


def test_a_failing_selector_is_rebuilt_and_the_good_sockets_go_on(lane, pair, monkeypatch):
    ours, theirs = pair
    owner = Owner(ours)

    def break_selector():
        lane.inbox.register(ours, READ, owner)

        def fail(timeout):
            raise OSError(9, "Bad file descriptor")

        monkeypatch.setattr(lane.inbox._poller, "wait", fail)

    lane.call(break_selector)
    lane.inbox.put("alive")
    assert lane.messages.get(timeout=HANG) == "alive"
    theirs.send(b"x")

    assert owner.ready.wait(HANG)
    assert not owner.errors


@pytest.mark.parametrize("error", [OSError(9, "bad"), ValueError("closed"), KeyError(5), RuntimeError("odd")])
def test_a_selector_that_always_fails_neither_kills_the_lane_nor_takes_the_processor(lane, monkeypatch, error):
    calls = []

    def fail(self, timeout=None):
        calls.append(1)
        raise error

    monkeypatch.setattr(type(lane.inbox._poller), "wait", fail)
    rest = lane.inbox._rest
    rests = []
    monkeypatch.setattr(lane.inbox, "_rest", rest)
    monkeypatch.setattr(rest, "wait", lambda timeout: rests.append(timeout) or threading.Event().wait(0.001))
    lane.inbox.put("alive")
    assert lane.messages.get(timeout=HANG) == "alive"
    lane.until(lambda: len(calls) > 20)
    calls_then, rests_then = lane.call(lambda: (len(calls), len(rests)))

    assert rests_then >= calls_then - 3
    monkeypatch.undo()
    lane.inbox.put("well again")
    assert lane.messages.get(timeout=HANG) == "well again"


def test_no_new_selector_to_be_had_is_survived(lane, monkeypatch):
    refused = threading.Event()

    def refuse():
        refused.set()
        raise OSError(24, "Too many open files")

    def break_selector():
        monkeypatch.setattr(selector_inbox, "make_poller", refuse)
        lane.inbox._poller.close()

    lane.call(break_selector)
    assert refused.wait(HANG)
    monkeypatch.undo()
    lane.inbox.put("alive")

    assert lane.messages.get(timeout=HANG) == "alive"


def test_a_socket_closed_behind_its_back_is_told_when_the_selector_is_rebuilt(lane, pair):
    ours, _ = pair
    owner = Owner(ours)

    def close_and_break():
        lane.inbox.register(ours, READ, owner)
        ours.close()
        lane.inbox._poller.close()

    lane.call(close_and_break)

    assert owner.lost.wait(HANG)
    assert isinstance(owner.errors[0], ValueError)


def test_a_descriptor_closed_behind_its_back_is_told_when_the_selector_is_rebuilt(lane, pair):
    ours, _ = pair
    owner = Owner(ours)

    def close_and_break():
        lane.inbox.register(ours, READ, owner)
        os.close(ours.fileno())
        lane.inbox._poller.close()

    lane.call(close_and_break)

    assert owner.lost.wait(HANG)
    assert isinstance(owner.errors[0], OSError)
    ours.detach()


def test_a_descriptor_number_taken_over_by_another_socket_goes_to_the_new_one(lane):
    """The first socket's number is closed by force and reused; its owner is told, the new one works."""
    first, first_peer = socket.socketpair()
    number = first.fileno()
    spare, peer = socket.socketpair()
    old, taken = Owner(first), []

    def take_over():
        lane.inbox.register(first, READ, old)
        os.dup2(spare.fileno(), number)
        second = socket.socket(fileno=number)
        taken.append(Owner(second))
        lane.inbox.register(second, READ, taken[0])

    lane.call(take_over)
    assert old.lost.wait(HANG)
    peer.send(b"x")

    assert taken[0].ready.wait(HANG)
    assert first.fileno() == -1
    lane.call(lambda: lane.inbox.unregister(taken[0].sock))
    for sock in (taken[0].sock, spare, peer, first_peer):
        sock.close()


def test_modifying_a_closed_socket_is_told_to_its_owner(lane, pair):
    ours, _ = pair
    owner = Owner(ours)

    def close_and_modify():
        lane.inbox.register(ours, READ, owner)
        ours.close()
        lane.inbox.modify(ours, READ | WRITE)
        assert not owner.errors

    lane.call(close_and_modify)

    assert owner.lost.wait(HANG)


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="only epoll keeps descriptors closed elsewhere")
def test_a_closed_descriptor_that_lives_on_elsewhere_does_not_keep_the_lane_busy(lane, pair):
    """Such a number goes on being reported by epoll while a duplicate is open; only a new epoll gets rid of it."""
    ours, theirs = pair
    owner = Owner(ours)
    copy = os.dup(ours.fileno())
    before = lane.inbox._poller

    def close_number():
        lane.inbox.register(ours, READ, owner)
        os.close(ours.detach())

    lane.call(close_number)
    theirs.send(b"x")
    assert owner.lost.wait(HANG)
    lane.until(lambda: lane.inbox._poller is not before)
    os.close(copy)


def test_a_lost_wake_up_socket_is_replaced(lane):
    def cut():
        lane.inbox._bell.close()
        lane.inbox._poller.close()

    lane.call(cut)
    for number in range(50):
        lane.inbox.put(number)
        assert lane.messages.get(timeout=HANG) == number


@pytest.mark.parametrize("broken", ["make_bell", "register"])
def test_a_lost_bell_that_cannot_be_replaced_at_once_is_replaced_later(lane, monkeypatch, broken):
    refusals = threading.Semaphore(0)

    def refuse(*_):
        refusals.release()
        raise OSError(24, "Too many open files")

    def cut():
        if broken == "make_bell":
            monkeypatch.setattr(selector_inbox, "make_bell", refuse)
        else:
            monkeypatch.setattr(lane.inbox, "register", refuse)
        lane.inbox._bell.close()
        lane.inbox._poller.close()

    lane.call(cut)
    for _ in range(3):
        assert refusals.acquire(timeout=HANG)
    monkeypatch.undo()
    lane.until(lambda: lane.inbox._bell.fileno() in lane.inbox._watches)
    for number in range(50):
        lane.inbox.put(number)
        assert lane.messages.get(timeout=HANG) == number


def test_an_inbox_that_cannot_be_made_leaves_no_descriptor_behind(monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SelectorInbox, "register", refuse)
    before = count_open_files()
    for _ in range(5):
        with pytest.raises(OSError, match="No space"):
            SelectorInbox()

    assert count_open_files() == before


def test_a_pykka_actor_lives_on_it():
    class Doubler(with_inbox(SelectorInbox)):
        def on_stop(self):
            self.actor_inbox.close()

        def on_receive(self, message):
            return message * 2

    ref = Doubler.start()
    try:
        assert [ref.ask(number, timeout=HANG) for number in range(100)] == [number * 2 for number in range(100)]
    finally:
        ref.stop(timeout=HANG)
    assert not ref.is_alive()
