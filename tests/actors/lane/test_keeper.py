"""Lanes and their keeper, where the system has no descriptor or no thread left for a lane."""

from __future__ import annotations

import errno
import logging
import threading

import pytest

from tinker_actors.actors import platform as platform_module
from tinker_actors.actors.lane.keeper import Lanes, StopLanes
from tinker_actors.actors.platform import SocketPlatform
from tinker_actors.config import Config
from tinker_actors.events.records import LaneReplaced
from tinker_actors.net.open_files import count_open_files
from tinker_actors.runtime import lane_thread
from tinker_actors.runtime.actor import Ping

from ...pykka_internals import actor_of  # noqa: TID252 - the tests are no package that is installed
from . import lane_bench
from .lane_bench import LaneBench

HANG = 30.0

CONFIG = Config(base_url="http://127.0.0.1:9", api_key="tml-key")


@pytest.fixture(params=["descriptor", "thread"])
def refuse(request, monkeypatch):
    """Have the next lane of a name find nothing left of what it needs; return an event that says so."""

    def refuse_next(name):
        refused = threading.Event()
        inbox, start = platform_module.SelectorInbox, lane_thread.start_thread
        names = []

        def lane(self, name, config, real=SocketPlatform.lane):
            names.append(name)
            return real(self, name, config)

        def no_descriptor(clock):
            if names[-1] == name and not refused.is_set():
                refused.set()
                raise OSError(errno.EMFILE, "Too many open files")
            return inbox(clock)

        def no_thread(thread_name, target):
            if thread_name == f"{name}-lane" and not refused.is_set():
                refused.set()
                raise RuntimeError("can't start new thread")
            return start(thread_name, target)

        monkeypatch.setattr(SocketPlatform, "lane", lane)
        if request.param == "descriptor":
            monkeypatch.setattr(platform_module, "SelectorInbox", no_descriptor)
        else:
            monkeypatch.setattr(lane_thread, "start_thread", no_thread)
        return refused

    return refuse_next


def test_a_lane_whose_successor_cannot_be_started_gets_one_later(refuse):
    lanes = Lanes(CONFIG, SocketPlatform("1"))
    try:
        replaced = threading.Event()
        lanes.hub.subscribe(lambda _: replaced.set(), LaneReplaced)
        refused = refuse("sample")
        dead = lanes.refs["sample"]
        actor_of(dead).receive = None  # the next message raises: a defect
        dead.tell("anything")
        assert refused.wait(HANG)
        assert replaced.wait(HANG)

        assert lanes.refs["sample"].ask(Ping(), timeout=HANG)
        assert lanes.keeper.ask(Ping(), timeout=HANG)
    finally:
        lanes.keeper.ask(StopLanes(), timeout=HANG)


def test_a_lane_gets_a_successor_although_a_log_handler_raises():
    def emit(_):
        raise ConnectionResetError("the log server is gone")

    handler = logging.Handler()
    handler.emit = emit
    logger = logging.getLogger("tinker_actors")
    lanes = Lanes(CONFIG, SocketPlatform("1"))
    logger.addHandler(handler)
    try:
        replaced = threading.Event()
        lanes.hub.subscribe(lambda _: replaced.set(), LaneReplaced)
        dead = lanes.refs["sample"]
        actor_of(dead).receive = None  # the next message raises: a defect
        dead.tell("anything")
        assert replaced.wait(HANG)
        assert lanes.refs["sample"].ask(Ping(), timeout=HANG)
        assert lanes.keeper.ask(Ping(), timeout=HANG)
    finally:
        logger.removeHandler(handler)
        lanes.keeper.ask(StopLanes(), timeout=HANG)


def test_what_came_before_an_interrupt_kept_its_caller_from_telling_is_found(monkeypatch):
    """Ctrl-C comes between any two steps of the caller's; what others hand over later must not wait for ever."""
    bench = LaneBench()

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(lane_bench, "tell", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bench.sample("interrupted")
    bench.sample("next")
    bench.wait(6.0)
    assert bench.submits() == ["interrupted", "next"]
    bench.sample("later")
    bench.settle()
    assert bench.submits() == ["interrupted", "next", "later"]


def lane_threads():
    return {thread for thread in threading.enumerate() if thread.name.endswith("-lane")}


def test_lanes_that_cannot_all_be_started_leave_nothing_behind(refuse):
    platform, others = SocketPlatform("1"), lane_threads()
    Lanes(CONFIG, platform).keeper.ask(StopLanes(), timeout=HANG)  # so that all is loaded, and the dispatcher runs
    for thread in lane_threads() - others:
        thread.join(HANG)
    files = count_open_files()
    refuse("sample")
    with pytest.raises((OSError, RuntimeError)):
        Lanes(CONFIG, platform)
    for thread in lane_threads() - others:
        thread.join(HANG)

    assert lane_threads() <= others
    assert count_open_files() == files
