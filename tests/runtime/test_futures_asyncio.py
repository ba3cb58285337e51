"""Futures on event loops: a waiter that goes away stops waiting, never the operation."""

from __future__ import annotations

import asyncio
import concurrent.futures
import signal
import threading

import pytest

from tinker_actors.errors import DeadlineExceededError, RequestFailedError

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


# ---------------------------------------------------------------- results


@pytest.mark.parametrize(
    "awaiting",
    [lambda f: f, lambda f: f.result_async(), lambda f: f.result_async(timeout=HANG), lambda f: f.coroutine()],
    ids=["await", "result_async", "result_async with timeout", "coroutine"],
)
def test_a_result_that_comes_from_another_thread_wakes_the_loop(training, settle_in_thread, awaiting):
    async def main():
        future = training(decode=str.upper)
        asyncio.get_running_loop().call_soon(settle_in_thread, future, "done")
        return await awaiting(future)

    assert run(main()) == "DONE"


def test_what_is_there_already_is_awaited_without_a_turn_of_the_loop(training):
    async def main():
        future = training()
        future._settle(7)
        switched = []
        asyncio.get_running_loop().call_soon(switched.append, True)
        assert await future == 7
        assert await future.result_async(timeout=0) == 7
        assert switched == []

    run(main())


def test_an_error_is_raised_in_every_awaiter(training, settle_in_thread):
    async def main():
        future = training()
        tasks = [asyncio.create_task(future.coroutine()) for _ in range(3)]
        await turns()
        error = RequestFailedError("no")
        settle_in_thread(future, error=error)
        raised = await asyncio.gather(*tasks, return_exceptions=True)
        assert [repr(each) for each in raised] == [repr(error)] * 3
        assert len({id(each) for each in (error, *raised)}) == 4, "each has its own to hang frames on"

    run(main())


def test_gather_and_create_task_take_coroutines(training, settle_in_thread):
    async def main():
        futures = [training() for _ in range(5)]
        gathered = asyncio.gather(*(future.coroutine() for future in futures))
        await turns()
        for number, future in reversed(list(enumerate(futures))):
            settle_in_thread(future, number)
        assert await gathered == [0, 1, 2, 3, 4]

    run(main())


def test_a_cancelled_sample_raises_in_who_awaits_it_without_cancelling_the_task(sample):
    async def main():
        future, _ = sample()
        task = asyncio.create_task(future.coroutine())
        await turns()
        assert future.cancel()
        with pytest.raises(concurrent.futures.CancelledError):
            await task
        assert not task.cancelled()

    run(main())


# ---------------------------------------------------------------- waiters that go away


def test_wait_for_on_a_training_future_leaves_the_operation_and_the_other_waiters(
    training, blocked_reader, settle_in_thread
):
    async def main():
        future = training()
        join = blocked_reader(future)
        other = asyncio.create_task(future.coroutine())
        await turns()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(future, 0.001)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await future
        assert future.running()
        assert not other.done()
        settle_in_thread(future, "result")
        assert await other == "result"
        assert await asyncio.wait_for(future, HANG) == "result"
        assert join() == "result"

    run(main())


def test_a_failing_sibling_in_a_task_group_leaves_the_operation(training, settle_in_thread):
    future = training()

    async def main():
        outside = asyncio.create_task(future.coroutine())
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                inside = group.create_task(future.coroutine())
                await turns()

                async def fail():
                    raise ValueError("sibling")

                group.create_task(fail())
        assert inside.cancelled()
        assert [str(error) for error in caught.value.exceptions] == ["sibling"]
        assert future.running()
        settle_in_thread(future, "result")
        return await outside

    assert run(main()) == "result"
    assert future.result(0) == "result"


def test_of_two_awaiters_the_one_that_is_not_cancelled_gets_the_result(training, settle_in_thread):
    async def main():
        future = training()
        first, second = (asyncio.create_task(future.coroutine()) for _ in range(2))
        await turns()
        first.cancel()
        await turns()
        assert first.cancelled()
        assert future.running()
        settle_in_thread(future, "result")
        assert await second == "result"

    run(main())


def interrupted(future):
    """Await in `asyncio.run` and press Ctrl-C."""
    loops = []

    async def main():
        loop = asyncio.get_running_loop()
        loops.append(loop)
        loop.call_soon(loop.call_soon, signal.raise_signal, signal.SIGINT)
        await future

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert loops[0].is_closed()


def test_ctrl_c_leaves_a_training_operation_and_who_waits_for_it(training, blocked_reader):
    future = training()
    join = blocked_reader(future)
    interrupted(future)
    assert future.running()
    assert len(future._watchers) == 1, "the thread waits on"
    future._settle("result")
    assert join() == "result"
    assert run(future.coroutine()) == "result"


def test_ctrl_c_cancels_a_sample_that_nobody_else_waits_for(sample):
    future, told = sample()
    interrupted(future)
    assert future.cancelled()
    assert told == [future]


def test_a_sample_is_cancelled_with_its_last_waiter_only(sample):
    async def main():
        future, told = sample()
        first, second = (asyncio.create_task(future.coroutine()) for _ in range(2))
        await turns()
        first.cancel()
        await turns()
        assert told == []
        second.cancel()
        await turns()
        assert told == [future]
        assert future.cancelled()

    run(main())


def test_a_sample_is_not_cancelled_while_a_thread_waits_for_it(sample, blocked_reader):
    async def main():
        future, told = sample()
        join = blocked_reader(future)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(future, 0.001)
        assert told == []
        future._settle("text")
        assert join() == "text"

    run(main())


def test_a_sample_is_not_cancelled_while_a_callback_waits_for_it(sample):
    async def main():
        future, told = sample()
        heard = threading.Event()
        future.add_done_callback(lambda _: heard.set())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(future, 0.001)
        assert told == []
        future._settle("text")
        assert heard.wait(HANG)

    run(main())


def test_a_sample_is_not_cancelled_while_the_standard_librarys_wait_has_it(sample):
    async def main():
        future, told = sample()
        thread = threading.Thread(target=concurrent.futures.wait, args=([future],))
        thread.start()
        poll = threading.Event()
        while not future._waiters:
            poll.wait(0.001)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(future, 0.001)
        assert told == []
        future._settle("text")
        thread.join(HANG)

    run(main())


def test_cancelling_a_waiter_of_a_sample_that_is_done_tells_nobody(sample):
    async def main():
        future, told = sample()
        task = asyncio.create_task(future.coroutine())
        await turns()
        future._settle("text")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert told == []
        assert future.result(0) == "text"

    run(main())


def test_a_timeout_of_result_async_ends_the_waiting_only(training, settle_in_thread):
    async def main():
        future = training()
        other = asyncio.create_task(future.coroutine())
        await turns()
        for seconds in (0, 0.001):
            with pytest.raises(DeadlineExceededError) as caught:
                await future.result_async(timeout=seconds)
            assert caught.value.future is future
        assert len(future._watchers or ()) == 1
        settle_in_thread(future, "result")
        assert await future.result_async(timeout=HANG) == "result"
        assert await other == "result"

    run(main())


def test_a_timeout_of_result_async_leaves_a_lone_sample_live(sample):
    async def main():
        future, told = sample()
        with pytest.raises(DeadlineExceededError):
            await future.result_async(timeout=0.001)
        assert told == []
        assert future.running()

    run(main())
