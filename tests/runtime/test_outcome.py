"""Outcomes: whoever decides many at a time tells them together, and leaves none out."""

from __future__ import annotations

import os
import socket
import threading

import pytest

from tinker_actors.runtime import outcome
from tinker_actors.runtime.outcome import hold_back, hold_nothing_back, tell_held_back
from tinker_actors.runtime.selector_inbox import _TOLD_TOGETHER, READ, SelectorInbox

HANG = 30.0


class Decided(outcome.Decidable):
    def __init__(self, told):
        self._watch(lambda: told.append(self))

    def decide(self):
        self._outcome = ("FINISHED", None, None)
        self._tell_watchers()


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    assert not outcome._held_back


def test_what_is_held_back_is_told_in_order_and_only_when_it_is_time():
    told = []
    first, second, third = (Decided(told) for _ in range(3))
    held = hold_back()
    second.decide()
    first.decide()
    assert told == []
    tell_held_back(held)
    assert told == [second, first]
    third.decide()
    hold_nothing_back()
    assert told == [second, first, third]
    last = Decided(told)
    last.decide()
    assert told[-1] is last
    hold_nothing_back()  # once more


def test_other_threads_tell_at_once():
    told = []
    mine, others = Decided(told), Decided(told)
    hold_back()
    mine.decide()
    thread = threading.Thread(target=others.decide)
    thread.start()
    thread.join(HANG)
    assert told == [others]
    mine._watch(lambda: told.append("late"))  # by whoever finds the outcome there
    assert told == [others]
    hold_nothing_back()
    assert told == [others, mine, "late"]


def test_an_interrupt_while_telling_leaves_nothing_out():
    told = []
    first, second = Decided(told), Decided(told)

    def interrupted():
        if not told:
            told.append("interrupted")
            raise KeyboardInterrupt

    first._watchers.insert(0, interrupted)
    hold_back()
    first.decide()
    second.decide()
    with pytest.raises(KeyboardInterrupt):
        hold_nothing_back()
    hold_nothing_back()
    assert told == ["interrupted", first, second]


def test_a_forked_child_holds_nothing_back():
    hold_back()
    told, pid = [], os.fork()
    if pid == 0:
        Decided(told).decide()
        os._exit(0 if told else 1)
    hold_nothing_back()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


class Deciding:
    """Owner of a socket that decides something when it is ready."""

    def __init__(self, story, number, *, fails=False):
        self.story = story
        self.number = number
        self.fails = fails

    def on_ready(self, events):
        self.story.append(("ready", self.number))
        future = outcome.Decidable()
        future._watch(lambda: self.story.append(("told", self.number)))
        future._outcome = ("FINISHED", None, None)
        future._tell_watchers()
        if self.fails:
            raise ValueError("on purpose")

    def on_lost(self, error):
        pass


@pytest.mark.parametrize("fails", [False, True])
def test_a_lane_tells_after_some_sockets_and_at_the_end_of_a_round(fails):
    """Not after each: whoever waits would be woken for each, and would take the interpreter for it."""
    inbox, story, pairs = SelectorInbox(), [], []
    try:
        for number in range(2 * _TOLD_TOGETHER + 3):
            pairs.append(socket.socketpair())
            inbox.register(pairs[-1][0], READ, Deciding(story, number, fails=fails))
            pairs[-1][1].send(b"x")
        inbox.post(lambda: inbox.put("over"))  # behind the sockets of the same turn
        assert inbox.get() == "over"
    finally:
        inbox.close()
        for pair in pairs:
            for sock in pair:
                sock.close()
    expected = []
    ready = [number for what, number in story if what == "ready"]
    assert sorted(ready) == list(range(2 * _TOLD_TOGETHER + 3))
    for start in range(0, len(ready), _TOLD_TOGETHER):
        part = ready[start : start + _TOLD_TOGETHER]
        expected += [("ready", number) for number in part] + [("told", number) for number in part]
    assert story == expected
