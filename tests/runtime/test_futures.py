"""Futures in threads: waiting, decoding, cancelling."""

from __future__ import annotations

import concurrent.futures
import threading
import tracemalloc

import pykka
import pytest

from tinker_actors.errors import DeadlineExceededError, RequestFailedError, WouldDeadlockError
from tinker_actors.runtime.actor import RuntimeActor
from tinker_actors.runtime.delivery import DeliveryThread
from tinker_actors.runtime.dispatcher import Dispatcher
from tinker_actors.runtime.futures import resolved

HANG = 30.0


# ---------------------------------------------------------------- waiting


def test_a_result_reaches_every_thread_that_waits(training, in_thread, until):
    future = training()
    joins = [in_thread(future.result) for _ in range(3)] + [in_thread(lambda: future.get(timeout=HANG))]
    until(lambda: len(future._watchers or ()) == 4)
    assert not future.done()
    assert future._settle("result")
    assert [join() for join in joins] == ["result"] * 4
    assert future.done()
    assert future.exception() is None
    assert future.future() is future


def test_a_future_is_running_from_birth(training):
    future = training()
    assert future.running()
    assert not future.cancel()
    assert future.running()
    future._settle(1)
    assert not future.running()
    assert not future.cancel()
    assert future.result() == 1


def test_the_operations_error_is_raised_by_every_way_to_read(training):
    future = training()
    error = RequestFailedError("no")
    future._settle(error=error)
    for read in (future.result, future.get, lambda: future.result(0), lambda: pykka.get_all([future])):
        with pytest.raises(RequestFailedError) as caught:
            read()
        assert caught.value is not error, "whoever raises it hangs his frames on it"
        assert str(caught.value) == "no"
    assert error.__traceback__ is None
    assert repr(future.exception()) == repr(error)


def test_only_the_first_settling_counts(training):
    future = training()
    assert future._settle("first")
    assert not future._settle("second")
    assert not future._settle(error=ValueError("third"))
    assert future.result() == "first"


def test_of_many_threads_that_settle_one_wins(training, in_thread):
    future, together = training(), threading.Barrier(8)

    def settle(number):
        together.wait(HANG)
        return future._settle(number)

    joins = [in_thread(lambda number=number: settle(number)) for number in range(8)]
    wins = [join() for join in joins]
    assert wins.count(True) == 1
    assert future.result() == wins.index(True)


@pytest.mark.parametrize("read", ["result", "exception"])
def test_a_deadline_ends_the_waiting_and_leaves_the_future_live(training, read):
    future = training()
    future._tracker.attempts = 2
    future._accept("request-1")
    future._tracker.enter("queued at the server", 1.0)
    with pytest.raises(TimeoutError) as caught:
        getattr(future, read)(0)
    error = caught.value
    assert isinstance(error, DeadlineExceededError)
    assert error.future is future
    assert (error.request_id, error.attempts, error.outcome) == ("request-1", 2, "unknown")
    assert "queued at the server" in str(error)
    assert future.running()
    future._settle("late, but there")
    assert error.future.result(0) == "late, but there"


def test_pykkas_get_ends_with_pykkas_timeout(training):
    future = training()
    with pytest.raises(pykka.Timeout):
        future.get(timeout=0)
    with pytest.raises(pykka.Timeout):
        pykka.get_all([future], timeout=0)
    future._settle(1)
    assert future.get() == 1


def test_a_deadline_error_that_is_the_result_is_not_taken_for_the_callers_own(training):
    future = training()
    future._settle(error=DeadlineExceededError("the operation's own"))
    with pytest.raises(DeadlineExceededError, match="the operation's own"):
        future.get(timeout=0)


def test_pykkas_get_all_takes_them_with_pykkas_own_futures(training, in_thread):
    ours, theirs = training(), pykka.ThreadingFuture()
    join = in_thread(lambda: pykka.get_all([ours, theirs], timeout=HANG))
    theirs.set("theirs")
    ours._settle("ours")
    assert join() == ["ours", "theirs"]


def test_the_standard_librarys_wait_and_as_completed_take_them(training, sample, in_thread, until):
    futures = [training(), training(), sample()[0], training()]
    plain = concurrent.futures.Future()
    join = in_thread(lambda: concurrent.futures.wait([*futures, plain], timeout=HANG))
    first = in_thread(lambda: concurrent.futures.wait(futures, HANG, concurrent.futures.FIRST_EXCEPTION))
    order = in_thread(lambda: list(concurrent.futures.as_completed([*futures, plain], timeout=HANG)))
    until(lambda: len(futures[3]._waiters) == 3)
    futures[3]._settle("d")
    futures[1]._settle(error=ValueError("b"))
    done, pending = first()
    assert (done, pending) == ({futures[1], futures[3]}, {futures[0], futures[2]})
    futures[2].cancel()
    plain.set_result("plain")
    futures[0]._settle("a")
    assert join() == ({*futures, plain}, set())
    assert order()[-1] is futures[0]
    assert isinstance(futures[1].exception(), ValueError)


def test_waiting_on_a_settled_future_does_not_wait():
    future = resolved(5, "step number")
    assert future.done()
    assert future.result(0) == 5
    assert concurrent.futures.wait([future], timeout=0).done == {future}
    assert future.progress().what == "step number"


# ---------------------------------------------------------------- the runtime's own threads


def test_waiting_on_the_delivery_thread_raises(training):
    delivery = DeliveryThread()
    pending, done, seen = training(), training(delivery=delivery), []
    heard = threading.Event()

    def callback(future):
        for wait in (pending.result, lambda: pending.result(0), pending.exception, pending.get):
            try:
                wait()
            except WouldDeadlockError as error:
                seen.append(str(error))
        seen.append(future.result())  # what is there already can be read anywhere
        heard.set()

    done.add_done_callback(callback)
    done._settle("there")
    assert heard.wait(HANG)
    assert seen[-1] == "there"
    assert len(seen) == 5
    assert "forward_backward" in seen[0]
    assert "pipe_to" in seen[0]


def test_waiting_on_the_dispatcher_raises(training):
    pending = training()

    class Waiter(RuntimeActor):
        def receive(self, message):
            return message.result()

    ref = Waiter.start(Dispatcher())
    with pytest.raises(WouldDeadlockError):
        ref.ask(pending, timeout=HANG)
    pending._settle(3)
    assert ref.ask(pending, timeout=HANG) == 3


# ---------------------------------------------------------------- decoding


def test_the_first_reader_decodes_and_nobody_else(training, in_thread):
    threads = []

    def decode(raw):
        threads.append(threading.get_ident())
        return raw * 2

    future = training(decode=decode)
    assert future._settle(21)
    assert future.done()
    assert threads == []
    joins = [in_thread(lambda: (future.result(), threading.get_ident())) for _ in range(6)]
    read = [join() for join in joins]
    assert [value for value, _ in read] == [42] * 6
    assert future.exception() is None
    assert len(threads) == 1
    assert threads[0] in {ident for _, ident in read}


def test_a_second_reader_waits_for_the_first_to_have_decoded(training, in_thread):
    entered, hold = threading.Event(), threading.Event()

    def decode(raw):
        entered.set()
        assert hold.wait(HANG)
        return raw + 1

    future = training(decode=decode)
    future._settle(1)
    first = in_thread(future.result)
    assert entered.wait(HANG)
    second = in_thread(future.result)
    hold.set()
    assert (first(), second()) == (2, 2)


def test_what_decoding_raises_is_the_futures_failure(training):
    calls = []

    def decode(raw):
        calls.append(raw)
        raise ValueError("not what the protocol promises")

    future = training(decode=decode)
    future._settle(b"<html>")
    assert isinstance(future.exception(), ValueError)
    for _ in range(2):
        with pytest.raises(ValueError, match="protocol"):
            future.result()
    assert calls == [b"<html>"]


def test_a_reader_interrupted_while_decoding_leaves_it_to_the_next(training):
    calls = []

    def decode(raw):
        calls.append(raw)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return raw.upper()

    future = training(decode=decode)
    future._settle("raw")
    with pytest.raises(KeyboardInterrupt):
        future.result()
    assert future.result() == "RAW"
    assert future.result() == "RAW"
    assert len(calls) == 2


def test_failures_and_cancellations_are_not_decoded(training, sample):
    def decode(raw):
        raise AssertionError("there is nothing to decode")

    failed, (cancelled, _) = training(decode=decode), sample(decode=decode)
    failed._settle(error=RequestFailedError("no"))
    cancelled.cancel()
    assert isinstance(failed.exception(), RequestFailedError)
    with pytest.raises(concurrent.futures.CancelledError):
        cancelled.result()


# ---------------------------------------------------------------- cancelling


def test_a_training_operation_can_not_be_cancelled(training):
    future = training()
    assert not future.cancel()
    assert not future.cancelled()
    future._settle(1)
    assert future.result() == 1


def test_cancelling_a_sample_tells_its_owner_once_and_wakes_who_waits(sample, in_thread, until):
    future, told = sample()
    join = in_thread(future.result)
    until(lambda: future._watchers)
    assert future.cancel()
    assert future.cancel()
    assert told == [future]
    assert future.cancelled()
    assert not future._settle("too late")
    with pytest.raises(concurrent.futures.CancelledError):
        join()
    with pytest.raises(concurrent.futures.CancelledError):
        future.exception()
    assert concurrent.futures.wait([future], timeout=0).done == {future}


def test_a_sample_that_is_done_can_not_be_cancelled(sample):
    future, told = sample()
    future._settle("text")
    assert not future.cancel()
    assert told == []
    assert future.result() == "text"


# ---------------------------------------------------------------- races


def test_settling_cancelling_waiting_and_calling_back_at_once_agree_on_one_outcome(sample):
    """Many rounds of threads that start together; whoever came first decides, and everybody hears of it."""
    for _ in range(60):
        future, told = sample()
        start, heard, seen = threading.Barrier(8), threading.Semaphore(0), []

        def wait(future=future, start=start, seen=seen):
            start.wait(HANG)
            try:
                seen.append(future.result(HANG))
            except concurrent.futures.CancelledError:
                seen.append("cancelled")

        def library(future=future, start=start, seen=seen):
            start.wait(HANG)
            (done,) = concurrent.futures.wait([future], HANG).done
            seen.append("cancelled" if done.cancelled() else done.result(0))

        def call_back(future=future, start=start, seen=seen, heard=heard):
            start.wait(HANG)
            future.add_done_callback(
                lambda done: (seen.append("cancelled" if done.cancelled() else done.result()), heard.release())
            )

        def settle(future=future, start=start):
            start.wait(HANG)
            future._settle("settled")

        def cancel(future=future, start=start):
            start.wait(HANG)
            future.cancel()

        jobs = (wait, wait, wait, library, library, call_back, settle, cancel)
        threads = [threading.Thread(target=job) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(HANG)
            assert not thread.is_alive()
        assert heard.acquire(timeout=HANG)

        outcome = "cancelled" if future.cancelled() else "settled"
        assert seen == [outcome] * 6
        assert told == ([future] if outcome == "cancelled" else [])
        assert not future._watchers


def test_a_reader_that_gives_up_while_the_result_comes_gets_one_or_the_other(training):
    for _ in range(200):
        future, start, seen = training(), threading.Barrier(2), []

        def settle(future=future, start=start):
            start.wait(HANG)
            future._settle("result")

        thread = threading.Thread(target=settle)
        thread.start()
        start.wait(HANG)
        try:
            seen.append(future.result(0.0001))
        except DeadlineExceededError:
            seen.append(future.result(HANG))
        thread.join(HANG)

        assert seen == ["result"]
        assert not future._watchers


def test_as_completed_over_futures_settled_by_several_threads(training):
    futures = [training() for _ in range(300)]

    def settle(part):
        for number, future in part:
            future._settle(number)

    parts = [list(enumerate(futures))[start::3] for start in range(3)]
    threads = [threading.Thread(target=settle, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    results = sorted(future.result(0) for future in concurrent.futures.as_completed(futures, HANG))
    for thread in threads:
        thread.join(HANG)

    assert results == list(range(300))


@pytest.mark.parametrize("timeout", [-1, 0, 1e12])
def test_odd_timeouts_are_understood(training, settle_in_thread, timeout):
    future = training()
    if timeout > 0:
        settle_in_thread(future, "result")
        assert future.result(timeout) == "result"
    else:
        with pytest.raises(DeadlineExceededError):
            future.result(timeout)


def test_nobody_but_the_runtime_sets_an_outcome(training):
    future = training()
    with pytest.raises(concurrent.futures.InvalidStateError):
        future.set_result(1)
    with pytest.raises(concurrent.futures.InvalidStateError):
        future.set_exception(ValueError())
    assert future.running()
    assert repr(future) == "<APIFuture of forward_backward: queued here>"


def test_a_pending_future_is_small(training):
    """Ten thousand are held at once; the standard library's constructor alone takes some 1.5 kB for each."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        held = [training() for _ in range(1_000)]
        each = (tracemalloc.get_traced_memory()[0] - before) / len(held)
    finally:
        tracemalloc.stop()

    assert each < 800
