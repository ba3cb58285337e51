"""Delivery: one thread for users' callbacks, few wake-ups of a loop."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from tinker_actors.runtime import threads as threads_of_ours
from tinker_actors.runtime.delivery import DeliveryThread, LoopBridge, bridge_to, run_callback
from tinker_actors.runtime.threads import on_own_thread, start_thread

HANG = 30.0


def test_callbacks_run_in_order_on_one_thread_of_the_runtimes_own():
    delivery, seen, done = DeliveryThread(), [], threading.Event()
    for number in range(100):
        delivery.post(lambda number=number: seen.append((number, threading.get_ident(), on_own_thread())))
    delivery.post(done.set)
    assert done.wait(HANG)
    assert [number for number, _, _ in seen] == list(range(100))
    ((ident, own),) = {entry[1:] for entry in seen}
    assert own
    assert ident != threading.get_ident()


def test_the_thread_starts_with_the_first_callback_and_only_once():
    before = threading.active_count()
    delivery = DeliveryThread()
    assert threading.active_count() == before
    together, done = threading.Barrier(8), threading.Semaphore(0)

    def post():
        together.wait(HANG)
        delivery.post(done.release)

    threads = [threading.Thread(target=post) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG)
        assert done.acquire(timeout=HANG)
    assert threading.active_count() == before + 1


def test_a_finalizer_that_posts_while_the_thread_is_being_started_does_not_wait_for_it(monkeypatch):
    delivery, starts, order, done = DeliveryThread(), [], [], threading.Event()

    def start(name, target):
        if not starts:
            starts.append(name)
            delivery.post(lambda: order.append("finalizer"))
        return start_thread(name, target)

    monkeypatch.setattr(threads_of_ours, "start_thread", start)
    caller = threading.Thread(target=lambda: delivery.post(lambda: order.append("caller")), daemon=True)
    caller.start()
    caller.join(HANG)
    assert not caller.is_alive()
    delivery.post(done.set)
    assert done.wait(HANG)
    assert order == ["caller", "finalizer"]


def test_where_no_thread_can_be_had_callbacks_wait_for_one(monkeypatch, caplog):
    delivery, order, done = DeliveryThread(), [], threading.Event()

    def refuse(name, target):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threads_of_ours, "start_thread", refuse)
        delivery.post(lambda: order.append("early"))
    assert "can't start new thread" in caplog.text
    delivery.post(done.set)
    assert done.wait(HANG)
    assert order == ["early"]


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_a_callback_raises_is_logged(kind, caplog):
    error = kind("in a callback")

    def fail():
        raise error

    run_callback(fail)
    (record,) = caplog.records
    assert (record.levelno, record.exc_info[1]) == (logging.ERROR, error)


def test_a_thread_that_ran_a_raising_callback_runs_the_next():
    delivery, idents, done = DeliveryThread(), [], threading.Event()

    def fail():
        idents.append(threading.get_ident())
        raise SystemExit

    delivery.post(fail)
    delivery.post(lambda: (idents.append(threading.get_ident()), done.set()))
    assert done.wait(HANG)
    assert len(set(idents)) == 1


def test_a_callback_can_post_another():
    delivery, done = DeliveryThread(), threading.Event()
    delivery.post(lambda: delivery.post(done.set))
    assert done.wait(HANG)


class FakeLoop:
    """A loop that notes what it is asked to run, and has a time of its own."""

    def __init__(self):
        self.now = 100.0
        self.calls = []
        self.timers = []
        self.wakes = 0

    def time(self):
        return self.now

    def call_soon_threadsafe(self, callback):
        self.calls.append(callback)

    def call_later(self, delay, callback):
        self.timers.append((self.now + delay, callback))

    def turn(self):
        """Do what is due at this time, as one wake-up."""
        due = [entry for entry in self.timers if entry[0] <= self.now]
        self.timers = [entry for entry in self.timers if entry[0] > self.now]
        calls, self.calls = self.calls, []
        self.wakes += bool(calls or due)
        for callback in calls:
            callback()
        for _, callback in due:
            callback()


class Waiter:
    def __init__(self, bridge, *, done=False):
        self.results = []
        self._bridge = bridge
        self._done = done
        bridge.waiters += 1

    def done(self):
        return self._done

    def set_result(self, value):
        self.results.append(value)
        self._bridge.waiters -= 1


def test_a_bridge_wakes_its_loop_once_per_turn():
    loop = FakeLoop()
    bridge = LoopBridge(loop)
    waiters = [Waiter(bridge) for _ in range(10)]
    for waiter in waiters[:6]:
        bridge.wake(waiter)
    assert len(loop.calls) == 1
    loop.turn()
    assert [waiter.results for waiter in waiters] == [[None]] * 6 + [[]] * 4
    for waiter in waiters[6:]:
        bridge.wake(waiter)
    assert len(loop.calls) == 1
    loop.turn()
    assert [waiter.results for waiter in waiters] == [[None]] * 10
    assert loop.wakes == 2


@pytest.mark.parametrize("per_second", [50, 90, 200, 1_000, 20_000])
def test_a_stream_of_results_wakes_its_loop_less_than_a_hundred_times_in_any_second(per_second):
    loop = FakeLoop()
    bridge = LoopBridge(loop)
    waiters = [Waiter(bridge) for _ in range(3 * per_second + 1)]
    woken = []
    step = 1 / 4_000
    arrived = 0
    for tick in range(3 * 4_000):
        loop.now = 100 + tick * step
        while arrived < tick * step * per_second:
            bridge.wake(waiters[arrived])
            arrived += 1
        before = loop.wakes
        loop.turn()
        woken += [loop.now] * (loop.wakes - before)
        # Nobody waits longer than two rounds of gathering.
        late = int((tick * step - 0.025) * per_second)
        assert all(waiter.results for waiter in waiters[max(0, late - 1) : max(0, late)])

    assert arrived >= 2 * per_second
    for index, start in enumerate(woken):
        assert sum(start <= moment < start + 1 for moment in woken[index:]) < 100
    assert len(woken) >= min(per_second, 80) * 2


def test_an_idle_loop_is_not_woken():
    loop = FakeLoop()
    bridge = LoopBridge(loop)
    waiters = [Waiter(bridge) for _ in range(200)]
    for waiter in waiters[:100]:
        bridge.wake(waiter)
        loop.turn()
        loop.now += 0.001
    loop.now += 1
    loop.turn()
    loop.now += 1
    wakes = loop.wakes
    for _ in range(100):
        loop.now += 1
        loop.turn()

    assert loop.wakes == wakes
    assert not loop.timers


def test_one_who_waits_alone_is_never_kept_waiting():
    """A result, the next request, its result: as fast as they come."""
    loop = FakeLoop()
    bridge = LoopBridge(loop)
    for _ in range(1_000):
        waiter = Waiter(bridge)
        bridge.wake(waiter)
        assert len(loop.calls) == 1
        loop.turn()
        assert waiter.results == [None]
        loop.now += 0.0001


def test_the_last_results_are_not_gathered_for():
    loop = FakeLoop()
    bridge = LoopBridge(loop)
    waiters = [Waiter(bridge) for _ in range(50)]
    for waiter in waiters[:40]:
        bridge.wake(waiter)
        loop.turn()
    assert loop.timers
    for waiter in waiters[40:]:
        bridge.wake(waiter)
    assert loop.calls
    loop.turn()

    assert [waiter.results for waiter in waiters] == [[None]] * 50


def test_a_bridge_leaves_waiters_that_were_cancelled_meanwhile():
    loop = FakeLoop()
    bridge = LoopBridge(loop)
    cancelled, waiting = Waiter(bridge, done=True), Waiter(bridge)
    bridge.wake(cancelled)
    bridge.wake(waiting)
    loop.turn()
    assert (cancelled.results, waiting.results) == ([], [None])


def test_an_interrupt_between_waiters_does_not_end_the_waking():
    """In a notebook the loop goes on after an interrupt, and so do those who wait on it."""
    loop = FakeLoop()
    bridge = LoopBridge(loop)
    waiters = [Waiter(bridge) for _ in range(100)]
    for waiter in waiters[:20]:
        bridge.wake(waiter)
        loop.turn()
        loop.now += 0.001
    for waiter in waiters[20:30]:
        bridge.wake(waiter)

    def interrupted(_):
        raise KeyboardInterrupt

    waiters[20].set_result = interrupted
    loop.now += 0.013
    with pytest.raises(KeyboardInterrupt):
        loop.turn()
    for waiter in waiters[30:40]:
        bridge.wake(waiter)
    loop.now += 1.0
    loop.turn()
    assert all(waiter.results for waiter in waiters[30:40])


def test_a_loop_has_one_bridge_and_keeps_it_while_somebody_uses_it():
    loops = [asyncio.new_event_loop() for _ in range(2)]
    try:
        bridges = [bridge_to(loop) for loop in loops]
        assert [bridge_to(loop) for loop in loops] == bridges
        assert bridges[0] is not bridges[1]
    finally:
        for loop in loops:
            loop.close()
