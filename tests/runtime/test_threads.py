"""Threads of the runtime: they outlive what fails on them, even where logging fails too."""

from __future__ import annotations

import logging
import queue
import sys

import pytest

from tinker_actors.runtime.connector import Connector, Target
from tinker_actors.runtime.delivery import DeliveryThread
from tinker_actors.runtime.dispatcher import Dispatcher
from tinker_actors.runtime.selector_inbox import SelectorInbox
from tinker_actors.runtime.threads import log_failure, start_thread
from tinker_actors.runtime.transport import Broken

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
