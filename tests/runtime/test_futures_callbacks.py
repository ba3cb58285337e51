"""Futures and who is called when they are done: callbacks, and actors."""

from __future__ import annotations

import concurrent.futures
import logging
import threading

import pytest

from tinker_actors.errors import RequestFailedError
from tinker_actors.runtime.actor import RuntimeActor
from tinker_actors.runtime.delivery import Inner
from tinker_actors.testing.step import StepRuntime

HANG = 30.0


# ---------------------------------------------------------------- callbacks


def test_callbacks_run_on_the_delivery_thread_in_order_before_and_after(training, delivery):
    future, seen, all_run = training(delivery=delivery), [], threading.Event()
    for name in ("first", "second"):
        future.add_done_callback(lambda done, name=name: seen.append((name, done, threading.current_thread().name)))
    assert seen == []
    future._settle(1)
    future.add_done_callback(lambda done: seen.append(("late", done, threading.current_thread().name)))
    future.add_done_callback(lambda _: all_run.set())
    assert all_run.wait(HANG)
    assert seen == [(name, future, "tinker-actors-delivery") for name in ("first", "second", "late")]


def test_callbacks_run_for_failures_and_cancellations_too(training, sample, delivery):
    failed, (cancelled, _) = training(delivery=delivery), sample(delivery=delivery)
    seen, both = [], threading.Event()
    failed.add_done_callback(lambda done: seen.append(done.exception()))
    cancelled.add_done_callback(lambda done: seen.append(done.cancelled()))
    error = RequestFailedError("no")
    failed._settle(error=error)
    cancelled.cancel()
    cancelled.add_done_callback(lambda _: both.set())
    assert both.wait(HANG)
    assert [repr(each) for each in seen] == [repr(error), "True"]


def test_a_slow_callback_delays_no_settling(training, until, delivery):
    slow, others = training(delivery=delivery), [training(delivery=delivery) for _ in range(100)]
    entered, hold, seen = threading.Event(), threading.Event(), []
    slow.add_done_callback(lambda _: (entered.set(), hold.wait(HANG)))
    for other in others:
        other.add_done_callback(lambda done: seen.append(done.result()))
    slow._settle(None)
    assert entered.wait(HANG)
    for number, other in enumerate(others):
        assert other._settle(number)
    assert [other.result(0) for other in others] == list(range(100))
    assert seen == []  # the callback is still busy
    hold.set()
    until(lambda: len(seen) == 100)
    assert seen == list(range(100))


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_raising_callback_is_logged_and_kills_nothing(training, errors_in, delivery, caplog, kind):
    future, heard, idents = training(delivery=delivery), threading.Event(), []
    error = kind("in a callback")

    def fail(_done):
        idents.append(threading.get_ident())
        raise error

    future.add_done_callback(fail)
    future.add_done_callback(lambda _: idents.append(threading.get_ident()) or heard.set())
    assert future._settle("result")
    assert heard.wait(HANG)
    assert idents[0] == idents[1]  # the same thread went on
    assert future.result() == "result"
    (record,) = errors_in(caplog)
    assert record.exc_info[1] is error


def test_adding_callbacks_while_it_is_settled_loses_none(training, in_thread, until, delivery):
    for _ in range(50):
        future, seen, together = training(delivery=delivery), [], threading.Barrier(2)

        def add(future=future, seen=seen, together=together):
            together.wait(HANG)
            for number in range(20):
                future.add_done_callback(lambda _, number=number: seen.append(number))

        join = in_thread(add)
        together.wait(HANG)
        future._settle(1)
        join()
        until(lambda seen=seen: len(seen) == 20)
        assert sorted(seen) == list(range(20))


# ---------------------------------------------------------------- actors


class Collector(RuntimeActor):
    def __init__(self, executor):
        super().__init__(executor)
        self.heard = []

    def receive(self, message):
        self.heard.append(message)


def wrapped(result, error):
    return ("wrapped", result, error)


def test_a_result_an_error_and_a_cancellation_are_piped_to_an_actor(training, sample):
    runtime = StepRuntime(0)
    actor = Collector(runtime)
    good, bad, (cancelled, _) = training(delivery=runtime), training(delivery=runtime), sample(delivery=runtime)
    decoded = training(delivery=runtime, decode=lambda raw: 1 / raw)
    for future in (good, bad, cancelled, decoded):
        future.pipe_to(actor.actor_ref, wrapped)
    error = RequestFailedError("no")
    good._settle(0)
    bad._settle(error=error)
    cancelled.cancel()
    decoded._settle(0)
    runtime.run_until(lambda: len(actor.heard) == 4)
    assert actor.heard[0] == ("wrapped", 0, None)
    assert repr(actor.heard[1]) == repr(("wrapped", None, error))
    assert isinstance(actor.heard[2][2], concurrent.futures.CancelledError)
    assert isinstance(actor.heard[3][2], ZeroDivisionError)


def test_piping_to_an_actor_that_is_gone_is_logged(training, caplog):
    runtime = StepRuntime(0)
    ref = Collector.start(runtime)
    ref.stop(block=False)
    runtime.run_until(lambda: not ref.is_alive())
    future = training(delivery=runtime)
    future.pipe_to(ref, wrapped)
    future._settle(1)
    while runtime.step():
        pass
    (record,) = [each for each in caplog.records if each.name == "tinker_actors"]
    assert record.levelno == logging.WARNING
    assert "forward_backward" in record.getMessage()


def test_a_wrapper_that_raises_is_logged_and_the_next_one_runs(training, errors_in, caplog):
    runtime = StepRuntime(0)
    actor = Collector(runtime)
    future = training(delivery=runtime)
    future.pipe_to(actor.actor_ref, lambda result: result)  # takes no error
    future.pipe_to(actor.actor_ref, wrapped)
    future._settle(1)
    runtime.run_until(lambda: bool(actor.heard))
    assert actor.heard == [("wrapped", 1, None)]
    assert len(errors_in(caplog)) == 1


# ---------------------------------------------------------------- who is told


def test_an_error_hears_when_it_is_given_to_the_user_and_not_from_our_own_callbacks(training, delivery):
    told = []
    error = RequestFailedError("no")
    error.on_told = lambda: told.append(1)
    future, own, users = training(delivery=delivery), threading.Event(), threading.Event()
    future.add_done_callback(Inner(lambda _: own.set()))
    future._settle(error=error)
    assert own.wait(HANG)
    assert isinstance(future._failure(), RequestFailedError)
    assert told == []
    future.add_done_callback(lambda _: users.set())
    assert users.wait(HANG)
    assert len(told) == 1
    future.exception(0)
    with pytest.raises(RequestFailedError):
        future.result(0)
    assert len(told) == 3
