"""Fan-out over a source that answers when the test says so."""

from __future__ import annotations

import gc
import threading

import pytest

from tinker_actors.clients.fan_out import IN_FLIGHT
from tinker_actors.errors import InvalidInputError, QueueFullError, RequestFailedError, WouldDeadlockError
from tinker_actors.runtime.threads import as_own_thread

from .answering import HANG, Source, begun


@pytest.fixture
def answering():
    return Source(at_once=True)


def collect(fan_out, source, order):
    """Iterate in another thread, answering in this order; return what came."""
    got = []
    thread = threading.Thread(target=lambda: got.extend(fan_out))
    thread.start()
    for index in order:
        while len(source.asked) <= index:
            assert source.more.wait(HANG)
        before = len(got)
        source.answer(index)
        while not fan_out._ordered and len(got) == before and thread.is_alive():
            thread.join(0.001)
    thread.join(HANG)
    assert not thread.is_alive()
    return got


def test_responses_come_as_they_are_ready(source):
    assert collect(source.map("abc"), source, [2, 0, 1]) == [(2, "c"), (0, "a"), (1, "b")]


def test_responses_come_in_the_order_of_the_prompts_when_asked_for(source):
    assert collect(source.map("abc", ordered=True), source, [2, 0, 1]) == [(0, "a"), (1, "b"), (2, "c")]


def test_nothing_is_asked_before_the_first_step_and_nothing_beyond_the_limit(answering):
    taken = []
    prompts = (taken.append(i) or str(i) for i in range(10**9))
    fan_out = answering.map(prompts, in_flight=3)
    assert taken == []
    assert next(fan_out) == (0, "0")
    assert len(taken) <= 3
    for _ in range(20):
        next(fan_out)
    assert len(answering.asked) - 21 <= 3


@pytest.mark.parametrize("ordered", [False, True])
def test_as_much_is_under_way_as_the_limit_says(source, ordered):
    fan_out = source.map(range(100), in_flight=8, ordered=ordered)
    thread = threading.Thread(target=lambda: next(fan_out))
    thread.start()
    while len(source.asked) < 8:
        assert source.more.wait(HANG)
    source.answer(0)
    thread.join(HANG)
    assert len(source.asked) == 8
    source.answer(1)
    next(fan_out)
    assert len(source.asked) == 9, "what was given made room"


def test_without_a_limit_there_is_one(source):
    fan_out = source.map(range(10**6))
    begun(fan_out)
    assert len(source.asked) == IN_FLIGHT


def test_the_first_error_ends_it_and_cancels_the_rest(source):
    fan_out = begun(source.map("abcd", in_flight=3))
    source.answer(1, RequestFailedError("no luck"))
    with pytest.raises(RequestFailedError, match="no luck"):
        next(fan_out)
    assert source.prompts_cancelled() == ["a", "c"]
    assert list(fan_out) == []


def test_errors_are_given_in_place_of_responses_when_asked_for(source):
    fan_out = source.map(["a", "bad", "c"], on_error="return")
    got = dict([next(fan_out)])
    source.answer(0, RequestFailedError("no luck"))
    got |= dict([next(fan_out)])
    source.answer(1)
    got |= dict(fan_out)
    assert isinstance(got[0], RequestFailedError)
    assert isinstance(got[1], InvalidInputError)
    assert got[2] == "c"
    assert source.prompts_cancelled() == []


def test_a_prompt_that_can_not_be_right_ends_it(source):
    with pytest.raises(InvalidInputError, match="a bad prompt"):
        list(source.map(["a", "bad", "c"]))
    assert source.prompts_cancelled() == ["a"]


def test_leaving_the_loop_cancels_the_rest(source):
    def program():
        fan_out = begun(source.map("abcd", in_flight=3))
        source.answer(1)
        for index, response in fan_out:
            return index, response
        raise AssertionError("there was none")

    assert program() == (1, "b")
    assert source.prompts_cancelled() == ["a", "c"]


def test_an_exception_in_the_loop_cancels_the_rest(source):
    source.at_once = "a"

    def program():
        for _ in source.map("ab"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as raised:
        program()
    assert source.prompts_cancelled() == ["b"], "although the traceback still has the frame"
    del raised


def test_closing_dropping_and_the_end_of_a_block_cancel_the_rest(source):
    closed, dropped = begun(source.map("a")), begun(source.map("b"))
    with source.map("c") as left:
        begun(left)
    closed.close()
    closed.close()
    assert list(closed) == list(left) == []
    assert source.prompts_cancelled() == ["c", "a"]
    gc.disable()
    try:
        del dropped
        assert source.prompts_cancelled() == ["c", "a", "b"], "without the cycle collector"
    finally:
        gc.enable()


def test_an_input_that_fails_cancels_the_rest_and_raises(source):
    def prompts():
        yield "a"
        raise OSError("the file is gone")

    with pytest.raises(OSError, match="the file is gone"):
        list(source.map(prompts()))
    assert source.prompts_cancelled() == ["a"]


def test_a_full_queue_is_waited_for_as_long_as_something_is_under_way(source):
    source.room = 2
    fan_out = begun(source.map("abc"))
    assert len(source.asked) == 2
    source.answer(0)
    source.room = 3
    assert next(fan_out) == (0, "a")
    fan_out._step()
    assert [future.prompt for future in source.asked] == ["a", "b", "c"]


def test_a_full_queue_is_an_error_when_nothing_is_under_way(source):
    source.room = 0
    with pytest.raises(QueueFullError, match="patience None"):
        list(source.map("abc"))


def test_it_does_not_wait_on_a_thread_of_the_runtime(source):
    with as_own_thread(), pytest.raises(WouldDeadlockError):
        next(source.map("a"))


@pytest.mark.parametrize(
    "arguments",
    [{"in_flight": 0}, {"in_flight": 1.5}, {"on_error": "ignore"}, {"num_samples": 0}, {"params": {"max_tokens": 0}}],
)
def test_arguments_are_checked_at_once(source, arguments):
    with pytest.raises(InvalidInputError, match=next(iter(arguments)) if "params" not in arguments else "max_tokens"):
        source.map("abc", **arguments)


@pytest.mark.parametrize("prompts", [None, 5, b"bytes", {"a": 1}])
def test_what_can_not_be_iterated_is_refused(source, prompts):
    with pytest.raises(InvalidInputError, match="iterable"):
        source.map(prompts)
