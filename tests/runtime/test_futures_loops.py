"""Futures and the event loops that wait for them: many, several, and closed ones."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import weakref

import pytest

from tinker_actors.errors import RequestFailedError

HANG = 30.0


def run(main):
    """Run a coroutine with a guard against hanging."""

    async def guarded():
        async with asyncio.timeout(HANG):
            return await main

    return asyncio.run(guarded())


async def turns(count=3):
    """Let the other tasks of the loop go on."""
    for _ in range(count):
        await asyncio.sleep(0)


def count_wakeups(loop):
    """Count the loop's wake-ups from other threads."""
    calls, original = [], loop.call_soon_threadsafe

    def counting(*args, **kwargs):
        calls.append(args)
        return original(*args, **kwargs)

    loop.call_soon_threadsafe = counting
    return calls


def test_ten_thousand_results_wake_the_loop_once_per_turn(training):
    async def main():
        wakeups = count_wakeups(asyncio.get_running_loop())
        futures = [training() for _ in range(10_000)]
        gathered = asyncio.gather(*(future.coroutine() for future in futures))
        await turns()
        halves = futures[:5_000], futures[5_000:]
        for half in halves:
            # The loop waits for the thread here, so that all of this is one turn.
            thread = threading.Thread(target=lambda half=half: [future._settle(1) for future in half])
            thread.start()
            thread.join(HANG)
            await turns()
        assert len(wakeups) == 2
        assert sum(await gathered) == 10_000

    run(main())


def test_results_settled_on_the_loop_itself_arrive(training):
    async def main():
        future = training()
        asyncio.get_running_loop().call_soon(future._settle, 5)
        assert await future == 5

    run(main())


def test_loops_in_several_threads_wait_for_one_future(training):
    future, results = training(), []
    threads = [threading.Thread(target=lambda: results.append(run(future.coroutine()))) for _ in range(3)]
    for thread in threads:
        thread.start()
    poll = threading.Event()
    while len(future._watchers or ()) < 3:
        poll.wait(0.001)
    future._settle("result")
    for thread in threads:
        thread.join(HANG)
    assert results == ["result"] * 3


def test_a_future_is_used_across_several_runs(training, settle_in_thread):
    future = training()

    async def impatient():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(future, 0.001)

    asyncio.run(impatient())
    asyncio.run(impatient())
    assert not future._watchers

    async def patient():
        settle_in_thread(future, "result")
        return await future

    assert run(patient()) == "result"
    assert run(future.result_async()) == "result"


def abandon(future):
    """Close a loop while a task still waits on it; return a weak reference to the loop."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(future.coroutine())
    loop.run_until_complete(turns())
    task._log_destroy_pending = False  # the point of the test
    loop.close()
    return weakref.ref(loop)


def test_a_closed_loop_with_waiters_harms_nobody(training, blocked_reader, caplog):
    future = training()
    join = blocked_reader(future)
    abandon(future)
    assert future._settle("result")
    assert join() == "result"
    assert run(future.coroutine()) == "result"
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


@pytest.mark.parametrize("moment", ["before the result", "between the result and its turn"])
def test_a_closed_loop_with_waiters_is_forgotten_with_the_result(training, moment):
    future = training()
    if moment == "before the result":
        loop = abandon(future)
        future._settle("result")
    else:
        open_loop = asyncio.new_event_loop()
        task = open_loop.create_task(future.coroutine())
        open_loop.run_until_complete(turns())
        task._log_destroy_pending = False
        future._settle("result")
        open_loop.close()
        loop = weakref.ref(open_loop)
        del open_loop, task
    gc.collect()
    assert loop() is None


def test_wrap_future_gives_results_errors_and_decoded_values(training, settle_in_thread):
    async def main():
        good, bad = training(decode=str.upper), training()
        wrapped = [asyncio.wrap_future(good), asyncio.wrap_future(bad)]
        await turns()
        settle_in_thread(good, "done")
        settle_in_thread(bad, error=RequestFailedError("no"))
        assert await wrapped[0] == "DONE"
        with pytest.raises(RequestFailedError):
            await wrapped[1]

    run(main())


def test_a_cancelled_wrap_future_leaves_the_operation(training):
    async def main():
        future = training()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(future), 0.001)
        assert future.running()
        assert future._settle("result")
        assert future.result(0) == "result"

    run(main())


def test_a_failed_future_that_was_awaited_goes_without_the_garbage_collector(training, settle_in_thread):
    async def main():
        future = training()
        alive = weakref.ref(future)
        thread = settle_in_thread(future, error=RequestFailedError("no"))
        with contextlib.suppress(RequestFailedError):
            await future
        thread.join(HANG)
        del future, thread
        return alive

    gc.collect()
    gc.disable()
    try:
        assert run(main())() is None
    finally:
        gc.enable()


def test_results_that_stream_in_wake_the_loop_less_than_a_hundred_times_a_second(training):
    """Counted in the times the loop went to sleep, over the time that the stream really took."""

    async def main():
        loop = asyncio.get_running_loop()
        rounds, select = [], loop._selector.select

        def counting(timeout=None):
            if timeout != 0:  # else the loop is awake
                rounds.append(timeout)
            return select(timeout)

        futures = [training() for _ in range(10_000)]
        gathered = asyncio.gather(*(future.coroutine() for future in futures))
        await turns()

        def stream():
            pause = threading.Event()
            for start in range(0, 10_000, 20):
                for future in futures[start : start + 20]:
                    future._settle(1)
                pause.wait(0.001)

        loop._selector.select = counting
        before, began = threading.active_count(), loop.time()
        thread = threading.Thread(target=stream)
        thread.start()
        assert sum(await gathered) == 10_000
        took = loop.time() - began
        assert threading.active_count() <= before + 1
        thread.join(HANG)
        assert len(rounds) <= 100 * took + 20

    run(main())
