"""Threads of the runtime: they outlive what fails on them, even where logging fails too."""

from __future__ import annotations

import logging
import queue
import sys
import threading

import pytest

from tinker_actors.net.connector import Connector
from tinker_actors.net.target import Target
from tinker_actors.net.transport import Broken
from tinker_actors.runtime import threads
from tinker_actors.runtime.delivery import DeliveryThread
from tinker_actors.runtime.dispatcher import Dispatcher
from tinker_actors.runtime.selector_inbox import SelectorInbox
from tinker_actors.runtime.threads import OneThread, log_failure, start_thread

from .conftest import Ours

HANG = 30.0

logger = logging.getLogger("tinker_actors")


class BrokenHandler(logging.Handler):
    """A log handler of a user's that fails."""

    def emit(self, record):
        raise ConnectionResetError("the log server is gone")


@pytest.fixture
def broken_log():
    handler = BrokenHandler()
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


def fail(*_):
    raise ZeroDivisionError


def test_what_fails_in_the_log_is_printed_beside_what_was_to_be_logged(broken_log, capsys):
    try:
        fail()
    except ZeroDivisionError:
        log_failure(logger, "It failed")
    printed = capsys.readouterr().err

    assert "ZeroDivisionError" in printed
    assert "the log server is gone" in printed


def test_there_need_not_be_anything_to_print_to(broken_log, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    try:
        fail()
    except ZeroDivisionError:
        log_failure(logger, "It failed")


def test_the_delivery_thread_outlives_a_broken_log(broken_log):
    delivery, seen = DeliveryThread(), queue.SimpleQueue()
    delivery.post(fail)
    delivery.post(lambda: seen.put("next"))

    assert seen.get(timeout=HANG) == "next"


def test_an_inbox_outlives_a_broken_log(broken_log):
    inbox, seen = SelectorInbox(), queue.SimpleQueue()
    start_thread("test", lambda: seen.put(inbox.get()))
    inbox.post(fail)
    inbox.put("message")

    assert seen.get(timeout=HANG) == "message"
    inbox.close()


def test_an_inbox_mends_itself_beside_a_broken_log(broken_log):
    inbox, seen = SelectorInbox(), queue.SimpleQueue()
    start_thread("test", lambda: [seen.put(inbox.get()) for _ in range(3)])

    def cut():
        inbox._bell.close()
        inbox._poller.close()

    inbox.post(cut)
    for number in range(3):
        inbox.put(number)
        assert seen.get(timeout=HANG) == number
    inbox.close()


@pytest.mark.parametrize("part", ["open_socket", "on_done"])
def test_connector_threads_outlive_a_broken_log(broken_log, part):
    done = queue.SimpleQueue()
    broken = Broken("connect", "connect", "nobody there", False)
    connector = Connector(threads=1, open_socket=fail if part == "open_socket" else lambda target: broken)
    target = Target(scheme="http", host="server.example", port=80)
    connector.open(target, fail if part == "on_done" else done.put)
    opening = connector.open(target, done.put)
    while done.get(timeout=HANG) is not opening:
        pass

    assert isinstance(connector.take(opening), Broken)


def test_the_dispatcher_outlives_a_broken_log(broken_log):
    dispatcher = Dispatcher()
    failing, other = Ours.start(dispatcher), Ours.start(dispatcher)
    failing.tell(fail)

    assert other.ask("message", timeout=HANG) == "message"
    assert not failing.is_alive()


def test_one_thread_runs_however_many_need_it_at_a_time():
    ran, free = [], threading.Event()

    def target():
        ran.append(threading.get_ident())
        free.wait(HANG)

    one = OneThread("one", target)
    start = threading.Barrier(8)

    def need():
        start.wait(HANG)
        one.ensure()

    needing = [threading.Thread(target=need) for _ in range(8)]
    for thread in needing:
        thread.start()
    for thread in needing:
        thread.join(HANG)
    one.ensure()
    while not ran:
        free.wait(0.001)
    mine = [thread for thread in threading.enumerate() if thread.name == "tinker-actors-one"]
    free.set()
    for thread in mine:
        thread.join(HANG)
    assert len(ran) == 1


def test_a_thread_that_ended_is_started_again():
    ran = threading.Semaphore(0)
    one = OneThread("one", ran.release)
    for _ in range(3):
        one.ensure()
        assert ran.acquire(timeout=HANG)
        while one._running:
            threading.Event().wait(0.001)


def test_a_thread_can_be_needed_again_while_it_is_being_started(monkeypatch):
    """As by a signal handler that interrupts the start."""
    ran, starts = threading.Semaphore(0), []

    def start(name, run):
        starts.append(name)
        if len(starts) == 1:
            one.ensure()
        return start_thread(name, run)

    monkeypatch.setattr(threads, "start_thread", start)
    free = threading.Event()
    one = OneThread("one", lambda: (ran.release(), free.wait(HANG)))
    one.ensure()
    assert ran.acquire(timeout=HANG)
    assert len(starts) == 2
    free.set()
