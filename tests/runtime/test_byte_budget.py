"""The byte budget: who gets in, in which order, and what is held at any time."""

from __future__ import annotations

import threading

import pytest

from tinker_actors.runtime.byte_budget import ByteBudget

HANG = 30.0


def blocked_taker(budget, size, owner=None, timeout=HANG):
    """Start a thread that takes; return it and the list its answer goes to, once it stands in the line."""
    answers, before = [], budget.waiting
    thread = threading.Thread(target=lambda: answers.append(budget.take(size, timeout, owner)))
    thread.start()
    while budget.waiting == before and thread.is_alive():
        thread.join(0.001)
    return thread, answers


def test_what_fits_is_taken_and_what_does_not_is_not():
    budget = ByteBudget(100)
    assert budget.try_take(60)
    assert budget.try_take(40)
    assert not budget.try_take(1)
    budget.release(60)
    assert budget.try_take(60)
    assert (budget.held, budget.holders) == (100, 2)


def test_a_request_larger_than_the_limit_passes_when_nothing_else_is_held():
    budget = ByteBudget(100)
    assert budget.try_take(1000)
    assert not budget.try_take(1)
    budget.release(1000)
    assert budget.try_take(1)
    assert not budget.try_take(1000)


def test_a_blocked_taker_goes_on_when_there_is_room():
    budget = ByteBudget(100)
    budget.try_take(100)
    thread, answers = blocked_taker(budget, 50)
    budget.release(100)
    thread.join(HANG)
    assert answers == [True]
    assert (budget.held, budget.holders, budget.waiting) == (50, 1, 0)


def test_a_taker_may_wait_for_ever():
    budget = ByteBudget(100)
    budget.try_take(100)
    thread, answers = blocked_taker(budget, 50, timeout=float("inf"))
    budget.release(100)
    thread.join(HANG)
    assert answers == [True]


def test_a_taker_that_is_out_of_time_leaves_nothing_behind():
    budget = ByteBudget(100)
    budget.try_take(100)
    assert not budget.take(50, 0.01)
    assert budget.waiting == 0
    budget.release(100)
    assert (budget.held, budget.holders) == (0, 0)


def test_blocked_takers_and_callbacks_stand_in_one_line():
    budget = ByteBudget(100)
    budget.try_take(50)
    order = []
    budget.when_free(60, lambda: order.append("callback"))
    thread, answers = blocked_taker(budget, 60)
    small = budget.when_free(10, lambda: order.append("small"))
    assert not budget.try_take(1), "somebody waits"
    budget.release(50)
    assert order == ["callback"], "the small one does not overtake the blocked one"
    budget.release(60)
    thread.join(HANG)
    assert answers == [True]
    assert order == ["callback", "small"]
    assert small.state == "admitted"
    assert (budget.held, budget.holders) == (70, 2)


def test_whoever_leaves_the_line_lets_the_next_one_in():
    budget = ByteBudget(100)
    budget.try_take(50)
    called = []
    large = budget.when_free(100, lambda: called.append("large"))
    budget.when_free(50, lambda: called.append("small"))
    assert called == []
    budget.leave(large)
    assert called == ["small"]
    assert (budget.held, budget.waiting) == (100, 0)


def test_leaving_after_admission_gives_the_bytes_back():
    budget = ByteBudget(100)
    place = budget.when_free(40, lambda: None)
    assert place.state == "admitted"
    budget.leave(place)
    assert (budget.held, budget.holders) == (0, 0)


def test_callbacks_are_refused_above_twice_the_limit():
    budget = ByteBudget(100)
    budget.try_take(100)
    places = [budget.when_free(50, lambda: None) for _ in range(3)]
    assert [place is None for place in places] == [False, False, True]
    budget.leave(places[0])
    assert budget.when_free(50, lambda: None) is not None


def test_callbacks_that_come_together_are_refused_above_twice_the_limit_too(monkeypatch):
    budget, places = ByteBudget(100), []
    budget.try_take(100)
    stand = budget._stand

    def behind_another(*args, **options):
        monkeypatch.undo()
        places.append(budget.when_free(60, lambda: None))
        return stand(*args, **options)

    monkeypatch.setattr(budget, "_stand", behind_another)
    places.append(budget.when_free(60, lambda: None))
    assert [place is None for place in places] == [False, True]
    assert budget.waiting == 60


def test_a_lone_giant_is_not_refused():
    assert ByteBudget(100).when_free(1000, lambda: None).state == "admitted"


def test_a_dismissal_ends_the_waiting_of_one_owner_only():
    budget = ByteBudget(100)
    budget.try_take(100)
    mine, theirs = object(), object()
    first, first_answers = blocked_taker(budget, 10, mine)
    second, second_answers = blocked_taker(budget, 10, theirs)
    budget.dismiss(mine)
    first.join(HANG)
    assert first_answers == [False]
    assert second.is_alive()
    budget.release(100)
    second.join(HANG)
    assert second_answers == [True]
    assert (budget.held, budget.waiting) == (10, 0)


def test_an_interrupted_taker_leaves_nothing_behind(monkeypatch):
    budget = ByteBudget(100)
    budget.try_take(100)

    def interrupted(_event, _timeout):
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Event, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        budget.take(10, HANG)
    assert (budget.held, budget.waiting) == (100, 0)


def test_many_threads_never_hold_more_than_the_limit_and_give_everything_back():
    budget = ByteBudget(100)
    too_much = []

    def work(size):
        for _ in range(300):
            assert budget.take(size, HANG)
            if budget.held > budget.limit:
                too_much.append(budget.held)
            budget.release(size)

    threads = [threading.Thread(target=work, args=(10 + 7 * i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG)
    assert not too_much
    assert (budget.held, budget.holders, budget.waiting) == (0, 0, 0)
