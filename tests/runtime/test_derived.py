"""What `map`, `filter`, `join` and `reduce` make of futures, as pykka has them, and beyond."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import logging
import sys
import threading
import weakref

import pykka
import pytest

from tinker_actors.errors import DeadlineExceededError, PrecedingOperationFailed, RequestFailedError, WouldDeadlockError
from tinker_actors.runtime.derived import in_thread as made_in_thread
from tinker_actors.runtime.failed_future import unseen
from tinker_actors.runtime.futures import resolved
from tinker_actors.runtime.threads import as_own_thread

from ..forked import in_child, raised  # noqa: TID252 - the tests are no package that is installed

HANG = 30.0


def theirs(*values):
    """Return futures of pykka's own with these results."""
    futures = []
    for value in values:
        futures.append(pykka.ThreadingFuture())
        futures[-1].set(value)
    return futures


BOTH = pytest.mark.parametrize(
    "future_of", [resolved, lambda value: theirs(value)[0]], ids=["ours", "pykka"]
)  # the same test of both: ours are what a user of pykka's knows


# ---------------------------------------------------------------- as in pykka


@BOTH
def test_map_gives_the_function_the_whole_result(future_of):
    assert future_of([1, 2]).map(lambda result: (*result, 3)).get(timeout=HANG) == (1, 2, 3)


@BOTH
def test_filter_keeps_items(future_of):
    assert list(future_of(range(6)).filter(lambda item: item % 2).get(timeout=HANG)) == [1, 3, 5]
    with pytest.raises(TypeError, match="iterable"):
        future_of(3).filter(bool).get(timeout=HANG)


@BOTH
def test_reduce_puts_items_together(future_of):
    assert future_of("abc").reduce(lambda so_far, item: so_far + item).get(timeout=HANG) == "abc"
    assert future_of("abc").reduce(lambda so_far, item: so_far + item, ">").get(timeout=HANG) == ">abc"
    assert future_of("").reduce(lambda so_far, item: so_far + item, ">").get(timeout=HANG) == ">"
    with pytest.raises(TypeError):
        future_of("").reduce(lambda so_far, item: so_far + item).get(timeout=HANG)


@BOTH
def test_join_gives_the_results_in_order(future_of):
    assert list(future_of("a").join(future_of("b"), *theirs("c"), resolved("d")).get(timeout=HANG)) == list("abcd")
    assert list(future_of("a").join().get(timeout=HANG)) == ["a"]


@BOTH
def test_they_can_be_chained_and_gathered(future_of):
    lengths = future_of(["a", "bcd", "ef"]).map(lambda words: [len(word) for word in words])
    total = lengths.filter(lambda length: length > 1).reduce(lambda so_far, length: so_far + length, 0)
    assert pykka.get_all([total, lengths], timeout=HANG) == [5, [1, 3, 2]]


@BOTH
def test_the_function_runs_once_where_the_result_is_read_and_only_then(future_of):
    threads = []
    future = future_of(1).map(lambda result: threads.append(threading.current_thread()) or result)
    assert threads == []
    assert [future.get(timeout=HANG) for _ in range(3)] == [1] * 3
    assert threads == [threading.current_thread()]


@BOTH
def test_what_the_function_raises_is_raised_to_the_reader(future_of):
    future = future_of(1).map(lambda result: result / 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            future.get(timeout=HANG)


def test_ours_are_pykkas_futures_too(training):
    future = training()
    assert isinstance(future, pykka.Future)
    assert isinstance(future, concurrent.futures.Future)
    with pytest.raises(concurrent.futures.InvalidStateError):
        future.set(1)
    with pytest.raises(concurrent.futures.InvalidStateError):
        future.set_get_hook(lambda _: 1)
    with pytest.raises(TypeError, match="not iterable"):
        iter(future)


def test_a_future_of_pykkas_joins_ours(training):
    future = training()
    joined = theirs(1)[0].join(future)
    future._settle(2)
    assert joined.get(timeout=HANG) == [1, 2]


def test_only_futures_can_be_joined(training):
    with pytest.raises(TypeError, match="no future"):
        training().join(3)


# ---------------------------------------------------------------- waiting


def test_a_derived_future_is_done_with_its_source(training, blocked_reader, settle_in_thread):
    source = training()
    future = source.map(str.upper)
    assert not future.done()
    with pytest.raises(pykka.Timeout):
        future.get(timeout=0.001)
    with pytest.raises(DeadlineExceededError):
        future.result(0.001)
    reading = blocked_reader(future)
    settle_in_thread(source, "x")
    assert reading() == "X"


def test_nobody_waits_for_one_on_a_thread_of_the_runtime(training):
    future = training().map(str.upper)
    with as_own_thread(), pytest.raises(WouldDeadlockError):
        future.result()


def test_one_is_awaited_without_blocking_the_loop(training, settle_in_thread):
    async def main():
        source, other = training(), pykka.ThreadingFuture()
        turns = []
        loop = asyncio.get_running_loop()
        loop.call_soon(settle_in_thread, source, "a")
        loop.call_later(0.01, other.set, "b")
        loop.call_soon(turns.append, True)
        joined = source.map(str.upper).join(other)
        return await joined, turns

    assert asyncio.run(main()) == (["A", "b"], [True])


def test_callbacks_get_one_that_has_its_result(training, until):
    source = training()
    heard = []
    source.map(str.upper).add_done_callback(lambda future: heard.append(future.result(0)))
    source._settle("x")
    until(lambda: heard)
    assert heard == ["X"]


def test_one_can_be_waited_for_by_the_librarys_means(training):
    sources = [training() for _ in range(3)]
    futures = [source.map(str.upper) for source in sources]
    sources[1]._settle("x")
    done, _ = concurrent.futures.wait(futures, HANG, concurrent.futures.FIRST_COMPLETED)
    assert done == {futures[1]}


def test_thousands_are_joined(training):
    sources = [training() for _ in range(5000)]
    joined = sources[0].join(*sources[1:])
    for number, source in reversed(list(enumerate(sources))):
        assert not joined.done()
        source._settle(number)
    assert joined.result(0) == list(range(5000))


def test_sources_that_are_decided_by_many_threads_are_joined(training, in_thread):
    for _ in range(20):
        sources = [training() for _ in range(64)]
        joined = sources[0].join(*sources[1:])
        together = threading.Barrier(8)

        def settle(mine, together=together):
            together.wait(HANG)
            for source in mine:
                source._settle(1)

        joins = [in_thread(lambda mine=sources[at::8]: settle(mine)) for at in range(8)]
        assert joined.get(timeout=HANG) == [1] * 64
        for join in joins:
            join()


def test_readers_of_what_is_derived_of_what_is_derived_do_not_wait_for_one_another(in_thread):
    """All share a few locks for decoding; what is read under one must not need another."""
    futures = [resolved(number).map(lambda number: number + 1).map(lambda number: 2 * number) for number in range(2000)]
    joined = [futures[number].join(futures[-number - 1]) for number in range(2000)]
    joins = [in_thread(lambda at=at: [future.get(timeout=HANG) for future in joined[at::4]]) for at in range(4)]
    assert sum(total for join in joins for pair in join() for total in pair) == 2 * sum(range(2, 4001, 2))


def test_progress_and_acceptance_are_those_of_what_is_waited_for(training):
    first, second = training(), training()
    joined = first.map(str.upper).join(second)
    accepted = joined.accepted
    first._tracker.enter("queued at the server", 0.0)
    assert joined.progress().reason == "queued at the server"
    assert joined.progress().what == "forward_backward"
    first._accept("r1")
    first._settle("a")
    assert joined.progress().reason == "queued here"
    assert not accepted.done()
    second._accept("r2")
    assert accepted.result(HANG) == joined.request_id == "r2"
    second._settle("b")
    assert joined.result(0) == ["A", "b"]
    assert joined.accepted.result(0) == resolved(1).join(second).accepted.result(0) == "r2"


# ---------------------------------------------------------------- failures


def test_the_first_failure_in_order_is_that_of_all(training):
    first, second, third = (training() for _ in range(3))
    joined = first.join(second, third)
    third._settle(error=RequestFailedError("third"))
    second._settle(error=RequestFailedError("second"))
    assert not joined.done()
    first._settle(1)
    with pytest.raises(RequestFailedError, match="second"):
        joined.get(timeout=0)
    third._looked_at = True


def test_the_function_is_not_called_for_a_failure(training):
    source = training()
    future = source.map(lambda _: pytest.fail("called"))
    source._settle(error=RequestFailedError("no"))
    with pytest.raises(RequestFailedError):
        future.get(timeout=0)


def test_what_can_not_be_decoded_fails_what_is_made_of_it(training):
    source = training(decode=lambda raw: raw / 0)
    future = source.map(str)
    source._settle(1)
    with pytest.raises(ZeroDivisionError):
        future.get(timeout=0)


def test_reading_the_failure_of_one_tells_of_the_operations(training):
    told = []
    error = PrecedingOperationFailed("no")
    error.on_told = lambda: told.append(True)
    source = training()
    future = source.map(str)
    source._settle(error=error)
    assert told == []
    assert isinstance(future.exception(0), PrecedingOperationFailed)
    assert told == [True]


def test_a_failure_that_nobody_looks_at_is_told_of_once(training, errors_in, caplog):
    gc.collect()
    unseen.report()
    caplog.clear()
    source = training()
    future = source.map(str).filter(bool)
    source._settle(error=RequestFailedError("never seen"))
    del source, future
    gc.collect()
    unseen.report()
    (record,) = errors_in(caplog)
    assert "never seen" in record.getMessage()
    assert record.levelno == logging.ERROR


def test_a_failure_that_was_looked_at_where_something_is_made_of_it_is_seen(training, errors_in, caplog):
    gc.collect()
    unseen.report()
    caplog.clear()
    source = training()
    source.map(str)
    future = source.map(str).map(len)
    source._settle(error=RequestFailedError("seen"))
    assert future.exception(0)
    del source, future
    gc.collect()
    unseen.report()
    assert errors_in(caplog) == []


def test_of_two_failures_that_are_joined_the_other_is_still_to_be_seen(training, errors_in, caplog):
    gc.collect()
    unseen.report()
    caplog.clear()
    first, second = training(), training()
    joined = first.join(second)
    first._settle(error=RequestFailedError("the first"))
    second._settle(error=RequestFailedError("the second"))
    assert "first" in str(joined.exception(0))
    del first, second, joined
    gc.collect()
    unseen.report()
    (record,) = errors_in(caplog)
    assert "the second" in record.getMessage()


# ---------------------------------------------------------------- cancelling


def test_cancelling_one_cancels_the_sample_behind_it(sample):
    source, cancelled = sample()
    future = source.map(str).map(len)
    assert future.cancel()
    assert source.cancelled()
    assert cancelled == [source]


def test_a_sample_that_somebody_else_waits_for_goes_on(sample, blocked_reader):
    source, cancelled = sample()
    reading = blocked_reader(source)
    assert source.map(str).cancel()
    assert cancelled == []
    source._settle("x")
    assert reading() == "x"


def test_a_sample_with_two_derived_futures_is_cancelled_with_the_last(sample):
    source, cancelled = sample()
    first, second = source.map(str), source.map(len)
    first.cancel()
    assert cancelled == []
    second.cancel()
    assert cancelled == [source]


def test_a_task_that_is_cancelled_cancels_the_samples_it_awaits(sample):
    async def main():
        (first, one), (second, two) = sample(), sample()
        task = asyncio.ensure_future(first.map(str).join(second).coroutine())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return one == [first] and two == [second]

    assert asyncio.run(main())


def test_an_operation_is_not_cancelled_by_what_is_made_of_it(training):
    source = training()
    future = source.map(str)
    assert not future.cancel()
    source._settle(1)
    assert future.get(timeout=0) == "1"


def test_what_is_made_of_a_cancelled_sample_is_cancelled(sample):
    source, _ = sample()
    future = source.map(str)
    source.cancel()
    assert future.cancelled()
    with pytest.raises(concurrent.futures.CancelledError):
        future.get(timeout=0)


# ---------------------------------------------------------------- memory, threads


def test_a_result_is_held_no_longer_than_until_what_is_made_of_it_was_read(training):
    class Large:
        pass

    source, large = training(), Large()
    held = weakref.ref(large)
    future = source.map(lambda _: "small")
    source._settle(large)
    del source, large
    assert held() is not None
    assert future.get(timeout=0) == "small"
    assert held() is None
    assert future.request_id is None


def test_a_failure_that_was_raised_frees_what_the_function_holds(training):
    class Held:
        def use(self, _):
            return None

    source, owner = training(), Held()
    held = weakref.ref(owner)
    future = source.map(owner.use)
    del owner
    source._settle(error=RequestFailedError("no"))
    assert future.exception(0)
    assert held() is None


def test_what_has_to_wait_waits_in_a_thread_of_its_own():
    go = threading.Event()
    future = made_in_thread("waiting", lambda: go.wait(HANG) and threading.get_ident())
    assert not future.done()
    assert future.progress().what == "waiting"
    go.set()
    assert future.get(timeout=HANG) != threading.get_ident()
    with pytest.raises(SystemExit):
        made_in_thread("leaving", lambda: sys.exit(3)).get(timeout=HANG)


def test_in_a_forked_child_what_is_there_is_made_and_what_is_not_never_comes(training, in_thread):
    source, pending = training(), training()
    read, held, hold = threading.Event(), source.map(str), threading.Event()
    future, other = source.map(lambda number: number + 1), pending.map(str)
    source._settle(1)
    slow = source.map(lambda number: (read.set(), hold.wait(HANG), number)[-1])
    reading = in_thread(lambda: slow.get(timeout=HANG))
    assert read.wait(HANG)

    def child():
        hold.set()  # in the child: in the parent somebody holds the lock under which it is read
        return future.get(timeout=0), held.get(timeout=0), slow.get(timeout=0), raised(other.get), raised(pending.get)

    try:
        assert in_child(child) == (2, "1", 1, "ForkedError", "ForkedError")
    finally:
        hold.set()
    assert reading() == 1
    pending._settle(2)
    assert other.get(timeout=0) == "2"
