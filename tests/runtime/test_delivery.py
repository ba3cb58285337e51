"""Delivery: one thread for users' callbacks, one wake-up of a loop per turn."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from tinker_actors.runtime.delivery import DeliveryThread, LoopBridge, bridge_to, run_callback
from tinker_actors.runtime.threads import on_own_thread

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


class CountingLoop:
    """A loop that only notes what it is asked to run."""

    def __init__(self):
        self.calls = []

    def call_soon_threadsafe(self, callback):
        self.calls.append(callback)


class Waiter:
    def __init__(self, *, done=False):
        self.results = []
        self._done = done

    def done(self):
        return self._done

    def set_result(self, value):
        self.results.append(value)


def test_a_bridge_wakes_its_loop_once_per_turn():
    loop = CountingLoop()
    bridge = LoopBridge(loop)
    waiters = [Waiter() for _ in range(10)]
    for waiter in waiters[:6]:
        bridge.wake(waiter)
    assert len(loop.calls) == 1
    loop.calls[0]()
    assert [waiter.results for waiter in waiters] == [[None]] * 6 + [[]] * 4
    for waiter in waiters[6:]:
        bridge.wake(waiter)
    assert len(loop.calls) == 2
    loop.calls[1]()
    assert [waiter.results for waiter in waiters] == [[None]] * 10


def test_a_bridge_leaves_waiters_that_were_cancelled_meanwhile():
    loop = CountingLoop()
    bridge = LoopBridge(loop)
    cancelled, waiting = Waiter(done=True), Waiter()
    bridge.wake(cancelled)
    bridge.wake(waiting)
    loop.calls[0]()
    assert (cancelled.results, waiting.results) == ([], [None])


def test_a_loop_has_one_bridge_and_keeps_it_while_somebody_uses_it():
    loops = [asyncio.new_event_loop() for _ in range(2)]
    try:
        bridges = [bridge_to(loop) for loop in loops]
        assert [bridge_to(loop) for loop in loops] == bridges
        assert bridges[0] is not bridges[1]
    finally:
        for loop in loops:
            loop.close()
