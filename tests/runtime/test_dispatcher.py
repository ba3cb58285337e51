"""The dispatcher and the lane's thread: who runs actors, and what they leave behind."""

from __future__ import annotations

import errno
import gc
import logging
import os
import sys
import threading
import weakref

import pytest

from tinker_actors.runtime.actor import Ping, RuntimeActor, Terminated
from tinker_actors.runtime.clock import MonotonicClock
from tinker_actors.runtime.dispatcher import Dispatcher
from tinker_actors.runtime.lane_thread import LaneThread
from tinker_actors.runtime.restarts import RestartIntensity
from tinker_actors.runtime.selector_inbox import SelectorInbox
from tinker_actors.runtime.threads import let_others_finish, on_own_thread, start_thread
from tinker_actors.testing.clock import FakeClock

HANG = 30.0


class Worker(RuntimeActor):
    """Calls what it is told."""

    def receive(self, message):
        return message(self)


def whereabouts(_actor):
    thread = threading.current_thread()
    return thread.ident, thread.name, thread.daemon, on_own_thread()


# ---------------------------------------------------------------- the dispatcher


def test_all_actors_of_a_dispatcher_share_one_thread_of_the_runtimes_own():
    dispatcher = Dispatcher()
    refs = [Worker.start(dispatcher) for _ in range(20)]
    (place,) = {ref.ask(whereabouts, timeout=HANG) for ref in refs}
    assert place[1:] == ("tinker-actors-dispatcher", True, True)
    assert not on_own_thread()


def test_a_dispatcher_without_actors_has_no_thread():
    before = threading.active_count()
    dispatcher = Dispatcher()
    Worker(dispatcher)
    assert threading.active_count() == before
    Worker.start(dispatcher)
    assert threading.active_count() == before + 1


def test_actors_started_from_many_threads_share_one_dispatcher_thread():
    dispatcher = Dispatcher()
    together = threading.Barrier(8)
    refs = []

    def start():
        together.wait(HANG)
        refs.append(Worker.start(dispatcher))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG)
    assert len({ref.ask(whereabouts, timeout=HANG) for ref in refs}) == 1


def test_the_backlog_counts_what_waits_for_all_actors():
    dispatcher = Dispatcher()
    busy, other = Worker.start(dispatcher), Worker.start(dispatcher)
    entered, hold = threading.Event(), threading.Event()
    busy.tell(lambda _: (entered.set(), hold.wait(HANG)))
    assert entered.wait(HANG)
    for _ in range(3):
        other.tell(lambda _: None)
    assert dispatcher.backlog() == 3
    hold.set()
    other.ask(Ping(), timeout=HANG)
    assert dispatcher.backlog() == 0


def test_a_timer_waits_for_the_clock_and_runs_between_messages():
    clock = FakeClock()
    dispatcher = Dispatcher(clock)
    ref = Worker.start(dispatcher)
    seen = []
    ref.ask(lambda self: self.tell_later(5.0, lambda _: seen.append(self.now())) and None, timeout=HANG)
    clock.advance_to(1004.9)
    ref.ask(Ping(), timeout=HANG)
    ref.ask(Ping(), timeout=HANG)
    assert seen == []
    clock.advance_to(1005.0)
    ref.ask(Ping(), timeout=HANG)  # wakes the dispatcher; the timer's message comes behind
    ref.ask(Ping(), timeout=HANG)
    assert seen == [1005.0]


def test_a_flood_of_messages_does_not_hold_back_a_timer():
    clock = FakeClock()
    dispatcher = Dispatcher(clock)
    ref = Worker.start(dispatcher)
    order = []

    def flood(self):
        self.executor.timers.call_at(self.now(), lambda: order.append("timer"))
        for number in range(1000):
            self.actor_ref.tell(lambda _, number=number: order.append(number))

    ref.tell(flood)
    while len(order) < 1001:
        ref.ask(Ping(), timeout=HANG)
    assert order[0] == "timer"


@pytest.mark.parametrize("seconds", [1e10, float("inf")])
def test_a_timer_that_is_never_due_stops_nobody(seconds):
    ref = Worker.start(Dispatcher())
    ref.ask(lambda self: self.tell_later(seconds, lambda _: None) and None, timeout=HANG)
    for number in range(3):
        assert ref.ask(lambda _, number=number: number, timeout=HANG) == number


@pytest.mark.parametrize("ending", ["stopped", "crashed", "dropped", "dropped with a timer behind it"])
def test_a_dispatcher_keeps_nothing_of_an_actor_that_is_gone(ending, monkeypatch):
    monkeypatch.setattr(logging.getLogger("tinker_actors"), "disabled", True)  # a logged traceback holds the actor
    dispatcher = Dispatcher()
    other = Worker.start(dispatcher)
    ref = Worker.start(dispatcher)
    alive = weakref.ref(ref.ask(lambda self: self, timeout=HANG))
    if ending == "stopped":
        ref.stop(timeout=HANG)
    elif ending == "crashed":
        ref.tell(lambda _: 1 / 0)
    elif ending == "dropped with a timer behind it":
        ref.ask(lambda self: self.tell_later(0, lambda _: None) and None, timeout=HANG)
    ref = None
    for _ in range(2):
        other.ask(Ping(), timeout=HANG)
    gc.collect()
    assert alive() is None


def test_5000_actors_made_and_dropped_leave_no_thread_and_no_actor():
    dispatcher = Dispatcher()
    other = Worker.start(dispatcher)
    other.ask(Ping(), timeout=HANG)
    threads = threading.active_count()
    born = weakref.WeakSet()
    for _ in range(5000):
        actor = Worker(dispatcher)
        born.add(actor)
        dispatcher.run(actor)
        actor.actor_ref.stop(block=False)
    del actor
    other.ask(Ping(), timeout=HANG)
    gc.collect()
    assert len(born) == 0
    assert threading.active_count() == threads


# ---------------------------------------------------------------- the lane's thread


@pytest.fixture
def lane():
    clock = MonotonicClock()
    inbox = SelectorInbox(clock)
    return LaneThread("test-lane", inbox, clock), inbox


def thread_of(ident):
    return next(thread for thread in threading.enumerate() if thread.ident == ident)


def test_a_lane_runs_its_actor_on_a_thread_of_its_own_which_ends_with_it(lane):
    executor, inbox = lane
    ref = Worker.start(executor)
    ident, *place = ref.ask(whereabouts, timeout=HANG)
    assert place == ["tinker-actors-test-lane", True, True]
    thread = thread_of(ident)
    ref.stop(timeout=HANG)
    thread.join(HANG)
    assert not thread.is_alive()
    assert "closed" in repr(inbox)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no such policy")
@pytest.mark.parametrize(("polite", "policy"), [(True, "SCHED_BATCH"), (False, "SCHED_OTHER")])
def test_a_polite_lane_does_not_interrupt_who_wakes_it(polite, policy):
    clock = MonotonicClock()
    ref = Worker.start(LaneThread("test-lane", SelectorInbox(clock), clock, polite=polite))
    ident, *_ = ref.ask(whereabouts, timeout=HANG)
    assert os.sched_getscheduler(thread_of(ident).native_id) == getattr(os, policy)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
    ref.stop(timeout=HANG)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no such policy")
def test_a_policy_that_the_program_chose_is_kept():
    policies = []

    def choose():
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        let_others_finish()
        policies.append(os.sched_getscheduler(0))

    thread = threading.Thread(target=choose)
    thread.start()
    thread.join(HANG)
    assert policies == [os.SCHED_IDLE]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no such policy")
@pytest.mark.parametrize("refused", ["sched_getscheduler", "sched_setscheduler"])
def test_a_lane_does_without_where_policies_are_refused(monkeypatch, refused):
    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(os, refused, refuse)
    clock = MonotonicClock()
    ref = Worker.start(LaneThread("test-lane", SelectorInbox(clock), clock, polite=True))
    assert ref.ask(Ping(), timeout=HANG)
    ref.stop(timeout=HANG)


class Monitor(RuntimeActor):
    def __init__(self, executor):
        super().__init__(executor)
        self.heard = []

    def receive(self, message):
        if isinstance(message, Terminated):
            self.heard.append(message.error)
        return list(self.heard)


class Stubborn(Worker):
    ended_by = None

    def on_stop(self):
        self.ended_by = "on_stop"

    def on_dead_letter(self, message):
        message.set()


def test_a_lane_declared_stopped_while_stuck_ends_itself_once_it_wakes_up(lane):
    executor, _ = lane
    monitor = Monitor.start(Dispatcher())
    actor = Stubborn(executor)
    actor.monitor(monitor)
    executor.run(actor)
    entered, hold, refused = threading.Event(), threading.Event(), threading.Event()
    thread = thread_of(actor.actor_ref.ask(whereabouts, timeout=HANG)[0])
    actor.actor_ref.tell(lambda _: (entered.set(), hold.wait(HANG)))
    assert entered.wait(HANG)
    actor.actor_ref.tell(refused)
    actor.actor_ref.actor_stopped.set()
    assert monitor.ask("?", timeout=HANG) == []
    hold.set()
    thread.join(HANG)
    assert not thread.is_alive()
    assert actor.ended_by == "on_stop"
    assert refused.is_set()
    assert monitor.ask("?", timeout=HANG) == [None]


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_a_lane_that_dies_tells_its_monitor_and_closes_its_inbox(lane, kind):
    executor, inbox = lane
    monitor = Monitor.start(Dispatcher())
    actor = Worker(executor)
    actor.monitor(monitor)
    executor.run(actor)
    thread = thread_of(actor.actor_ref.ask(whereabouts, timeout=HANG)[0])
    error = kind("wrong")

    def die(_actor):
        raise error

    actor.actor_ref.tell(die)
    thread.join(HANG)
    assert not thread.is_alive()
    assert monitor.ask("?", timeout=HANG) == [error]
    assert "closed" in repr(inbox)


# ---------------------------------------------------------------- threads and restarts


def test_a_thread_of_the_runtime_is_known_only_while_it_runs():
    seen = []
    thread = start_thread("known", lambda: seen.append(on_own_thread()))
    thread.join(HANG)
    assert seen == [True]
    assert thread.name == "tinker-actors-known"
    plain = threading.Thread(target=lambda: seen.append(on_own_thread()))  # may be given the same number
    plain.start()
    plain.join(HANG)
    assert seen == [True, False]


@pytest.mark.parametrize(
    ("most", "period", "times", "allowed"),
    [
        (2, 10.0, [0, 1, 2], [True, True, False]),
        (2, 10.0, [0, 1, 11], [True, True, True]),
        (2, 10.0, [0, 5, 10], [True, True, True]),  # the first one is exactly a period old
        (2, 10.0, [0, 5, 9.9], [True, True, False]),
        (1, 10.0, [0, 9, 18, 29], [True, False, False, True]),  # refused ones count as well
        (0, 10.0, [0], [False]),
    ],
)
def test_restarts_within_a_period_are_counted(most, period, times, allowed):
    intensity = RestartIntensity(most, period)
    assert [intensity.allow(float(now)) for now in times] == allowed


def test_the_default_allows_five_restarts_a_minute():
    intensity = RestartIntensity()
    assert [intensity.allow(float(now)) for now in range(6)] == [True] * 5 + [False]
