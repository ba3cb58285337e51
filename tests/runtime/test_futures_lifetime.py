"""Futures on their way: accepted, progress, failures that nobody looks at, and memory."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import threading
import weakref

import pytest

from tinker_actors.errors import RequestFailedError
from tinker_actors.runtime.actor import RuntimeActor
from tinker_actors.runtime.failed_future import unseen
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.progress import Progress, Tracker
from tinker_actors.testing.step import StepRuntime

HANG = 30.0


# ---------------------------------------------------------------- accepted, and progress


@pytest.mark.parametrize("asked", ["before", "after"])
def test_accepted_is_settled_with_the_request_id_while_the_operation_goes_on(training, asked):
    future = training()
    accepted = future.accepted if asked == "before" else None
    if asked == "before":
        assert not accepted.done()
    assert future.request_id is None
    future._tracker.enter("sending", 5.0)
    future._accept("request-1")
    assert future.accepted.result(0) == "request-1"
    assert future.accepted is (accepted or future.accepted)
    assert future.request_id == "request-1"
    assert not future.done()
    assert future.progress().reason == "sending"
    future._settle("result")
    assert future.progress().reason == "done"
    assert future.accepted.result(0) == "request-1"


def test_accepted_waits_for_the_last_chunk(training):
    future = training()
    future._tracker.request_id = "request-of-a-chunk"
    assert not future.accepted.done()
    future._accept("request-of-the-last-chunk")
    assert future.accepted.result(0) == "request-of-the-last-chunk"


@pytest.mark.parametrize("asked", ["before", "after"])
def test_accepted_fails_with_the_operations_error(training, asked, caplog):
    future = training()
    if asked == "before":
        accepted = future.accepted
    error = RequestFailedError("no")
    future._settle(error=error)
    accepted = future.accepted
    assert repr(accepted.exception()) == repr(future.exception()) == repr(error)
    assert accepted.running() is False


def test_accepted_of_an_accepted_operation_does_not_hear_of_its_failure(training):
    future = training()
    future._accept("request-1")
    future._settle(error=RequestFailedError("no"))
    assert future.accepted.result(0) == "request-1"
    assert future.exception() is not None


def test_nobody_who_looks_at_a_future_stops_the_thread_that_settles_it(training, in_thread):
    """`concurrent.futures.wait` holds the locks of all it waits for; a signal handler may interrupt it there."""
    future = training()
    accepted = future.accepted
    with accepted._condition, future._condition:
        in_thread(lambda: future._settle("result"))()
        assert (future.result(0), accepted.done()) == ("result", True)


def test_the_library_sees_one_state_as_long_as_it_looks(training):
    """What ends while `wait` looks is heard of by leaving word, and not also by looking again."""
    future, seen = training(), []
    with future._condition:
        seen.append(future._state)
        future._settle("result")
        seen.append(future._state)
        waiter = concurrent.futures._base._AsCompletedWaiter()
        future._waiters.append(waiter)
        assert not waiter.finished_futures
    assert seen == ["RUNNING", "RUNNING"]
    assert waiter.finished_futures == [future]
    assert future._state == "FINISHED"
    with future._condition:
        future._waiters.append(late := concurrent.futures._base._AsCompletedWaiter())
    assert not late.finished_futures, "who sees the outcome is not told of it"


@pytest.mark.parametrize("how", ["wait", "as_completed"])
def test_the_library_hears_of_each_once_whenever_it_ends(training, how):
    for _ in range(100):
        futures = [training() for _ in range(20)]
        start = threading.Barrier(2)

        def settle(futures=futures, start=start):
            start.wait(HANG)
            for future in futures:
                future._settle("result")

        thread = threading.Thread(target=settle)
        thread.start()
        start.wait(HANG)
        if how == "wait":
            assert concurrent.futures.wait(futures, HANG) == (set(futures), set())
        else:
            assert sorted(map(id, concurrent.futures.as_completed(futures, HANG))) == sorted(map(id, futures))
        thread.join(HANG)


def test_accepted_ends_with_an_operation_that_ends_without(training, sample):
    done, (cancelled, _) = training(), sample()
    pending = [done.accepted, cancelled.accepted]
    done._settle(1)
    cancelled.cancel()
    assert pending[0].result(0) is None
    with pytest.raises(concurrent.futures.CancelledError):
        pending[1].result(0)


def test_progress_tells_what_it_waits_for_since_when_and_after_how_much():
    tracker = Tracker("sample", 10.0)
    future = APIFuture(tracker)
    assert future.progress() == Progress("sample", "queued here", "", 10.0, 0, 0, None)
    tracker.enter("sending", 12.0)
    tracker.attempts = 1
    tracker.enter("backing off", 13.0, "status 503")
    tracker.enter("backing off", 14.0, "status 502")
    assert future.progress() == Progress("sample", "backing off", "status 502", 13.0, 1, 0, None)
    future._accept("r7")
    tracker.polls = 2
    tracker.enter("queued at the server", 15.0)
    assert future.progress() == Progress("sample", "queued at the server", "", 15.0, 1, 2, "r7")
    future._settle(1)
    assert future.progress().reason == "done"


def test_the_history_is_one_line_with_what_there_is_to_say():
    tracker = Tracker("optim_step", 0.0)
    assert tracker.history(2.0) == "optim_step: queued here for 2.0 s"
    tracker.attempts, tracker.polls, tracker.request_id = 1, 1, "r1"
    tracker.enter("fetching the result", 3.0, "status 500")
    assert tracker.history(1.0) == (
        "optim_step: fetching the result for 0.0 s, sent 1 time, accepted as request r1, 1 poll, last: status 500"
    )
    tracker.attempts = tracker.polls = 2
    assert "sent 2 times" in tracker.history(4.0)
    assert "2 polls" in tracker.history(4.0)


# ---------------------------------------------------------------- failures that nobody looks at


@pytest.fixture
def _clean_log(caplog):
    """Let what earlier tests left behind be logged first."""
    gc.collect()
    unseen.report()
    caplog.clear()


@pytest.mark.usefixtures("_clean_log")
def test_a_failure_that_nobody_looks_at_is_logged_exactly_once(training, until, errors_in, caplog):
    future = training()
    future.add_done_callback(lambda _: None)
    future.accepted  # noqa: B018 - whoever has it looks at the operation as well
    future._settle(error=RequestFailedError("the reason"))
    del future
    gc.collect()
    until(lambda: unseen.report() or errors_in(caplog))
    (record,) = errors_in(caplog)
    assert "forward_backward" in record.getMessage()
    assert "the reason" in record.getMessage()


@pytest.mark.parametrize(
    "look",
    [
        lambda future: future.result(),
        lambda future: future.exception(),
        lambda future: future.get(),
        lambda future: future.pipe_to(RuntimeActor.start(StepRuntime(0)), lambda result, error: (result, error)),
    ],
    ids=["result", "exception", "get", "pipe_to"],
)
@pytest.mark.usefixtures("_clean_log")
def test_a_failure_that_somebody_looked_at_is_not_logged(training, errors_in, look, caplog):
    runtime = StepRuntime(0)
    future = training(delivery=runtime)
    future._settle(error=RequestFailedError("seen"))
    with contextlib.suppress(RequestFailedError):
        look(future)
    while runtime.step():
        pass
    del future
    gc.collect()
    unseen.report()
    assert errors_in(caplog) == []


@pytest.mark.usefixtures("_clean_log")
def test_successes_cancellations_and_pending_futures_are_not_logged(training, sample, errors_in, caplog):
    done, (cancelled, _), pending = training(), sample(), training()
    done._settle(1)
    cancelled.cancel()
    del done, cancelled, pending
    gc.collect()
    unseen.report()
    assert errors_in(caplog) == []


# ---------------------------------------------------------------- memory


class Big:
    """Something worth freeing."""


@pytest.fixture
def without_gc():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_a_result_goes_with_its_future(training, without_gc):
    future = training(decode=lambda raw: raw)
    big = Big()
    alive = weakref.ref(big)
    future._settle(big)
    future.accepted.result(0)
    del big
    assert future.result() is alive()
    del future
    assert alive() is None


def test_a_failed_future_that_was_read_goes_without_the_garbage_collector(training, without_gc):
    future = training()
    alive = weakref.ref(future)
    future._settle(error=RequestFailedError("no"))
    for read in (future.result, future.get):
        with contextlib.suppress(RequestFailedError):
            read()
    del future, read
    assert alive() is None


def _raise(error):
    raise error


@pytest.mark.parametrize(
    "read",
    [
        lambda future: future.result(0),
        lambda future: future.get(),
        lambda future: future.accepted.result(0),
        lambda future: _raise(future.exception(0)),
        lambda future: asyncio.run(future.coroutine()),
        lambda future: asyncio.run(future.result_async()),
        lambda future: asyncio.run(_wrapped(future)),
        lambda future: [each.result() for each in concurrent.futures.as_completed([future])],
    ],
    ids=["result", "get", "accepted", "exception", "await", "result_async", "wrap_future", "as_completed"],
)
@pytest.mark.parametrize("error", [RequestFailedError("no"), ValueError("a defect")], ids=["typed", "any"])
def test_a_failure_that_was_raised_keeps_nothing_of_whoever_raised_it(training, read, error, without_gc):
    """A future that outlives its reader, because an actor has it, must not keep the reader's handles."""
    future, held = training(), Big()
    alive = weakref.ref(held)

    def reader(held):
        with contextlib.suppress(RequestFailedError, ValueError):
            read(future)
        return held

    future._settle(error=error)
    reader(held)
    del held
    done = threading.Event()
    future._delivery.post(done.set)
    assert done.wait(HANG)  # what ran the callback is out of it
    gc.collect()  # event loops have cycles of their own
    assert alive() is None
    assert error.__traceback__ is None


async def _wrapped(future):
    return await asyncio.wrap_future(future)


def test_a_failed_decoding_keeps_its_place_and_not_its_future(training, without_gc):
    future = training(decode=lambda raw: raw["missing"])
    alive = weakref.ref(future)
    future._settle({})
    assert 'raw["missing"]' in future.exception().__notes__[0]
    del future
    assert alive() is None


def test_what_was_decoded_is_not_kept_beside_its_result(training, without_gc):
    raw = Big()
    alive = weakref.ref(raw)
    future = training(decode=lambda raw: 7)
    future._settle(raw)
    del raw
    assert alive() is not None
    assert future.result() == 7
    assert alive() is None


def test_a_settled_future_lets_go_of_its_callbacks(training, without_gc, delivery):
    held = Big()
    alive, future, heard = weakref.ref(held), training(delivery=delivery), threading.Event()
    future.add_done_callback(lambda _, held=held: None)
    del held
    future._settle(1)
    future.add_done_callback(lambda _: heard.set())
    assert heard.wait(HANG)
    assert alive() is None
