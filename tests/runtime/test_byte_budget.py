"""The byte budget: who gets in, in which order, and what is held at any time."""

from __future__ import annotations

import queue
import signal
import threading

import pytest

from tinker_actors.runtime.byte_budget import ByteBudget, Place

HANG = 30.0


class Budget(ByteBudget):
    """A budget whose line moves at once, on the thread that moves it."""

    def __init__(self, limit):
        super().__init__(limit, self.admit)


class Hold:
    """Something that holds bytes."""

    def __init__(self, size):
        self.size = size
        self.held = 0


def full(limit=100):
    budget, hold = Budget(limit), Hold(limit)
    assert budget.try_take(hold)
    return budget, hold


def gated(size, owner=None):
    gate = threading.Lock()
    gate.acquire()
    return Place(size, gate.release, owner), gate


def blocked_taker(budget, size, owner=None, timeout=HANG):
    """Start a thread that takes; return it, its place and the list its answer goes to, once it stands in the line."""
    place, gate = gated(size, owner)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(budget.take(place, gate, timeout)))
    thread.start()
    while place.state == "new" and thread.is_alive():
        thread.join(0.001)
    return thread, place, answers


def test_what_fits_is_taken_and_what_does_not_is_not():
    budget, first, second = Budget(100), Hold(60), Hold(40)
    assert budget.try_take(first)
    assert budget.try_take(second)
    assert not budget.try_take(small := Hold(1))
    budget.release(first)
    assert budget.try_take(first)
    assert (budget.held, budget.holders, first.held, small.held) == (100, 2, 60, 0)


def test_giving_back_twice_gives_back_once():
    budget, hold, other = Budget(100), Hold(60), Hold(40)
    budget.try_take(hold)
    budget.try_take(other)
    budget.release(hold)
    budget.release(hold)
    assert (budget.held, budget.holders) == (40, 1)


def test_a_request_larger_than_the_limit_passes_when_nothing_else_is_held():
    budget, giant = Budget(100), Hold(1000)
    assert budget.try_take(giant)
    assert not budget.try_take(Hold(1))
    budget.release(giant)
    assert budget.try_take(Hold(1))
    assert not budget.try_take(Hold(1000))


@pytest.mark.parametrize("timeout", [HANG, float("inf")])
def test_a_blocked_taker_goes_on_when_there_is_room(timeout):
    budget, hold = full()
    thread, place, answers = blocked_taker(budget, 50, timeout=timeout)
    budget.release(hold)
    thread.join(HANG)
    assert answers == [True]
    assert (budget.held, budget.holders, budget.waiting, place.held) == (50, 1, 0, 50)


def test_a_taker_that_is_out_of_time_leaves_nothing_behind():
    budget, hold = full()
    assert not budget.take(*gated(50), 0.01)
    assert budget.waiting == 0
    budget.release(hold)
    assert (budget.held, budget.holders) == (0, 0)


def test_blocked_takers_and_callbacks_stand_in_one_line():
    budget, hold = Budget(100), Hold(50)
    budget.try_take(hold)
    order = []
    first, small = (Place(60, lambda: order.append("callback")), Place(10, lambda: order.append("small")))
    budget.stand(first)
    thread, _, answers = blocked_taker(budget, 60)
    budget.stand(small)
    assert not budget.try_take(Hold(1)), "somebody waits"
    budget.release(hold)
    assert order == ["callback"], "the small one does not overtake the blocked one"
    budget.release(first)
    thread.join(HANG)
    assert answers == [True]
    assert order == ["callback", "small"]
    assert small.state == "admitted"
    assert (budget.held, budget.holders) == (70, 2)


def test_whoever_leaves_the_line_lets_the_next_one_in():
    budget = Budget(100)
    budget.try_take(Hold(50))
    called = []
    large = Place(100, lambda: called.append("large"))
    budget.stand(large)
    budget.stand(Place(50, lambda: called.append("small")))
    assert called == []
    budget.leave(large)
    assert called == ["small"]
    assert (budget.held, budget.waiting) == (100, 0)


def test_leaving_after_admission_gives_the_bytes_back():
    budget, place = Budget(100), Place(40, lambda: None)
    budget.stand(place)
    assert place.state == "admitted"
    budget.leave(place)
    budget.leave(place)
    assert (budget.held, budget.holders) == (0, 0)


def test_the_line_moves_only_where_the_budget_is_told_to():
    """Who gives back may be a thread that a signal handler interrupts; it lets nobody in."""
    woken = []
    budget, hold, place = ByteBudget(100, lambda: woken.append(1)), Hold(100), Place(10, lambda: None)
    budget.try_take(hold)
    budget.release(hold)
    assert not woken, "nobody waits"
    budget.try_take(hold)
    budget.stand(place)
    budget.release(hold)
    assert len(woken) == 2
    assert place.state == "waiting"
    budget.admit()
    assert (place.state, budget.held) == ("admitted", 10)


def test_callbacks_are_refused_above_twice_the_limit():
    budget, _ = full()
    places = [Place(50, lambda: None) for _ in range(4)]
    assert [budget.stand(place, capped=True) for place in places[:3]] == [True, True, False]
    budget.leave(places[0])
    budget.leave(places[2])
    assert budget.stand(places[3], capped=True)
    assert budget.waiting == 100


def test_a_lone_giant_is_not_refused():
    budget, giant = Budget(100), Place(1000, lambda: None)
    assert budget.stand(giant, capped=True)
    assert giant.state == "admitted"


def test_a_dismissal_ends_the_waiting_of_one_owner_only():
    budget, hold = full()
    mine, theirs = object(), object()
    first, _, first_answers = blocked_taker(budget, 10, mine)
    second, _, second_answers = blocked_taker(budget, 10, theirs)
    budget.dismiss(mine)
    first.join(HANG)
    assert first_answers == [False]
    assert second.is_alive()
    budget.release(hold)
    second.join(HANG)
    assert second_answers == [True]
    assert (budget.held, budget.waiting) == (10, 0)


def test_an_interrupted_taker_leaves_nothing_behind():
    budget, _ = full()
    place, _ = gated(10)

    class Interrupted:
        def acquire(self, timeout):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        budget.take(place, Interrupted(), HANG)
    assert (budget.held, budget.waiting) == (100, 0)


def test_many_threads_never_hold_more_than_the_limit_and_give_everything_back():
    budget = Budget(100)
    too_much = []

    def work(size):
        for _ in range(300):
            place, gate = gated(size)
            assert budget.take(place, gate, HANG)
            if budget.held > budget.limit:
                too_much.append(budget.held)
            budget.release(place)

    threads = [threading.Thread(target=work, args=(10 + 7 * i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG)
    assert not too_much
    assert (budget.held, budget.holders, budget.waiting) == (0, 0, 0)


def test_a_signal_handler_may_take_and_give_back_wherever_it_interrupts_who_does():
    """Hundreds of signals between the lines of takes, waits and returns: nothing stands still, nothing is lost."""
    moves: queue.SimpleQueue[bool] = queue.SimpleQueue()
    budget = ByteBudget(100, lambda: moves.put(True))

    def line():  # as the runtime's thread does
        while moves.get():
            budget.admit()

    thread = threading.Thread(target=line)
    thread.start()
    signals = 0

    def use(size, seconds):
        hold = Hold(size)
        if budget.try_take(hold):
            budget.release(hold)
            return
        place, gate = gated(size)
        budget.take(place, gate, seconds)
        budget.leave(place)

    def handler(*_):
        nonlocal signals
        signals += 1
        use(30, 0.0001)
        if signals < 300:
            signal.setitimer(signal.ITIMER_REAL, 0.0005)

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005)
    try:
        budget.try_take(resident := Hold(40))
        rounds = 0
        while signals < 300 and rounds < 200_000:
            use(61 if rounds % 2 else 20, 0.0001)  # what there never is, and what there is
            rounds += 1
        budget.release(resident)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        moves.put(False)
        thread.join(HANG)
    assert signals
    assert (budget.held, budget.holders, budget.waiting) == (0, 0, 0)
