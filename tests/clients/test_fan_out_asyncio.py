"""Fan-out in asyncio, over a source that answers when the test says so."""

from __future__ import annotations

import asyncio
import gc

import pytest

from tinker_actors.errors import InvalidInputError

from .answering import HANG, Source, begun, in_loop


async def slowly(prompts, gate):
    for prompt in prompts:
        await gate.wait()
        yield prompt


@in_loop
async def test_async_loops_take_plain_and_async_iterables():
    for make in (lambda p: p, lambda p: slowly(p, opened())):
        source = Source(at_once=True)
        got = [item async for item in source.map(make("abcdef"), in_flight=2)]
        assert sorted(got) == list(enumerate("abcdef"))


async def asked(source, count):
    """Let the loop turn until so much was asked."""
    while len(source.asked) < count:  # noqa: ASYNC110 - no event of this loop
        await asyncio.sleep(0)


def opened():
    gate = asyncio.Event()
    gate.set()
    return gate


@in_loop
async def test_results_do_not_wait_for_a_slow_input(source):
    gate = opened()
    fan_out = source.map(slowly("ab", gate))
    first = asyncio.ensure_future(anext(fan_out))
    await asked(source, 1)
    gate.clear()
    source.answer(0)
    assert await first == (0, "a")
    rest = asyncio.ensure_future(anext(fan_out))
    gate.set()
    await asked(source, 2)
    source.answer(1)
    assert await rest == (1, "b")
    with pytest.raises(StopAsyncIteration):
        await anext(fan_out)


def counted(fan_out):
    """Have it fail when it looks for news again and again without letting the loop turn."""
    step, looks = fan_out._step, iter(range(100))

    def look():
        next(looks)
        return step()

    fan_out._step = look
    return fan_out


@pytest.mark.parametrize("full", ["in flight", "in the queue"])
@in_loop
async def test_a_prompt_that_is_read_and_has_no_room_is_waited_with(full):
    source = Source()
    source.room = 1
    fan_out = counted(source.map(slowly("abc", opened()), in_flight=1 if full == "in flight" else 2))
    for index, prompt in enumerate("abc"):
        waiting = asyncio.ensure_future(anext(fan_out))
        await asked(source, index + 1)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done()
        source.room += 1
        source.answer(index)
        assert await waiting == (index, prompt)


@in_loop
async def test_an_input_that_ends_behind_the_one_that_is_given_is_no_error(caplog):
    source = Source()
    fan_out = counted(source.map(slowly("a", opened()), in_flight=1))
    first = asyncio.ensure_future(anext(fan_out))
    await asked(source, 1)
    for _ in range(10):
        await asyncio.sleep(0)
    source.answer(0)
    assert await first == (0, "a")
    fan_out.close()
    gc.collect()
    assert not caplog.records


@in_loop
async def test_no_thread_blocks_in_an_async_loop(source):
    fan_out = source.map("ab", ordered=True)
    waiting = asyncio.ensure_future(anext(fan_out))
    turns = 0
    while len(source.asked) < 2 or turns < 10:
        await asyncio.sleep(0)
        turns += 1
    assert not waiting.done()
    source.answer(1)
    source.answer(0)
    assert await waiting == (0, "a")
    assert await anext(fan_out) == (1, "b")


@in_loop
async def test_a_cancelled_task_cancels_the_rest(source):
    async def loop():
        async for _ in source.map("abc"):
            raise AssertionError("nothing is ready")

    task = asyncio.ensure_future(loop())
    await asked(source, 3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.prompts_cancelled() == ["a", "b", "c"]


@in_loop
async def test_leaving_an_async_loop_cancels_the_rest_and_the_reading(source):
    ended = asyncio.Event()

    async def prompts():
        try:
            yield "a"
            yield "b"
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.ensure_future(first_of(source.map(prompts())))
    await asked(source, 2)
    source.answer(0)
    assert await task == (0, "a")
    assert source.prompts_cancelled() == ["b"]
    await asyncio.wait_for(ended.wait(), HANG)


async def first_of(fan_out):
    async for item in fan_out:
        return item
    raise AssertionError("there was none")


@in_loop
async def test_an_async_input_that_fails_cancels_the_rest_and_raises(source):
    async def prompts():
        yield "a"
        raise OSError("the socket is gone")

    with pytest.raises(OSError, match="the socket is gone"):
        await anext(source.map(prompts()))
    assert source.prompts_cancelled() == ["a"]


@in_loop
async def test_an_async_block_cancels_the_rest(source):
    async with source.map("ab") as fan_out:
        begun(fan_out)
    assert source.prompts_cancelled() == ["a", "b"]
    assert [item async for item in fan_out] == []


@in_loop
async def test_an_async_input_needs_an_async_loop(source):
    with pytest.raises(InvalidInputError, match="async for"):
        iter(source.map(slowly("a", opened())))
