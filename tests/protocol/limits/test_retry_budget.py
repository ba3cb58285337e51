"""What a client sends to a server at which some, much or all fails."""

from __future__ import annotations

import itertools
import random
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinker_actors.protocol.limits.retry_budget import PACE, RetryBudget

from .retry_simulation import World

N = 400


def in_trouble(*names, now=10.0):
    """Return a budget whose endpoints (default: "x") have just come into trouble."""
    budget = RetryBudget()
    for name in names or ("x",):
        for ago in (0.5, 0.4, 0.3, 0.2, 0.1):
            budget.failed(name, now - ago, now - ago + 0.1)
        assert budget.troubled(name)
    return budget


# ---------------------------------------------------------------- the rules one by one


def test_what_fails_together_is_one_round_and_no_trouble():
    budget = RetryBudget()
    for _ in range(1000):
        budget.failed("x", 1.0, 5.0)
    assert not budget.troubled("x")
    assert budget.take("x", 5.0) == 0.0


def test_round_after_round_without_a_success_in_between_is_trouble():
    budget = RetryBudget()
    for number in range(5):
        assert not budget.troubled("x")
        budget.failed("x", number, number + 0.1)
    assert budget.troubled("x")
    assert not budget.troubled("y")


def test_when_nothing_succeeds_at_all_one_failure_of_an_endpoint_is_enough():
    budget = in_trouble("x")
    budget.failed("y", 9.6, 10.0)  # sent before the last round began
    assert budget.troubled("y")
    assert not budget.troubled("z")


def test_what_fails_together_at_many_endpoints_is_one_round():
    budget = RetryBudget()
    for name in "abcdefgh":
        budget.failed(name, 1.0, 5.0)
    assert not any(map(budget.troubled, "abcdefgh"))


def test_while_anything_succeeds_each_endpoint_has_its_own_trouble():
    budget = RetryBudget()
    for now in range(4):
        budget.failed("x", now, now + 0.1)
        budget.succeeded("heartbeat", now + 0.2)
    budget.failed("y", 4.0, 4.1)
    budget.failed("x", 4.2, 4.3)
    assert budget.troubled("x")
    assert not budget.troubled("y")


def test_a_success_in_between_makes_it_two_mishaps():
    budget = RetryBudget()
    for now in range(100):
        budget.failed("x", now, now + 0.5)
        assert not budget.succeeded("x", now + 0.6)  # nothing waits
        assert not budget.failing
        assert not budget.troubled("x")


def test_in_trouble_a_token_comes_with_time_and_waiting_costs_nothing():
    budget = in_trouble(now=10.0)
    assert budget.take("x", 10.0) == 0.0
    assert budget.take("x", 10.0) == pytest.approx(PACE)
    for _ in range(50):
        assert budget.take("x", 10.5) == pytest.approx(PACE - 0.5)
    assert budget.take("x", 10.0 + PACE) == 0.0


def test_endpoints_in_trouble_take_turns():
    budget = in_trouble(*"abc")
    now, went = 10.0, []
    while len(went) < 9:
        waits = {name: budget.take(name, now) for name in "abc"}
        went += [name for name, wait in waits.items() if not wait]
        now += min(wait for wait in waits.values() if wait)
    assert went == list("abc") * 3


def test_who_does_not_come_back_for_its_token_gives_up_its_turn():
    budget = in_trouble("gone", "x")
    assert budget.take("x", 10.0) == 0.0
    assert budget.take("gone", 10.0)
    assert budget.take("x", 10.0) > PACE
    assert budget.take("x", 13.0) == 0.0


def test_successes_bring_tokens_and_end_the_trouble():
    budget = in_trouble(now=10.0)
    assert budget.take("x", 10.0) == 0.0
    assert budget.succeeded("x", 10.05)
    assert [budget.take("x", 10.05) for _ in range(16)] == [0.0] * 16
    assert budget.take("x", 10.05) > 0.0
    for _ in range(4):
        assert budget.succeeded("x", 10.2)
    assert not budget.failing
    assert not budget.succeeded("x", 10.3)
    assert {budget.take("x", 10.2) for _ in range(1000)} == {0.0}


def test_when_one_endpoint_is_well_the_next_need_not_wait():
    budget = in_trouble("a", "b")
    assert budget.take("a", 10.0) == 0.0
    assert budget.take("b", 10.0) == pytest.approx(PACE)
    budget.succeeded("a", 10.5)
    assert budget.take("b", 10.5) == 0.0


def test_a_held_request_counts_after_longer_than_failures_took():
    budget = RetryBudget()
    budget.failed("x", 0.0, 8.0)  # held for long before it was cut
    assert budget.patience("x") < 0.5
    budget.failed("x", 10.0, 55.0)
    assert budget.patience("x") > 45.0


def test_threads_share_a_budget_without_losing_tokens():
    budget = in_trouble(now=10.0)
    for _ in range(3):
        budget.succeeded("x", 10.0)
    taken = []

    def take() -> None:
        taken.append(sum(budget.take("x", 10.0) == 0.0 for _ in range(100)))

    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == 3 * 16 + 1


# ---------------------------------------------------------------- over simulated time


def back_after(outage, *, n=N, held=None, seed=1, endpoints=("poll",)):
    """Return when the last of `n` requests at each endpoint got through, counted from the end of an outage."""
    world = World(lambda now, _: now < outage, seed, held=held)
    for endpoint in endpoints:
        for name in range(n):
            world.ask(endpoint, name)
    world.run(outage + 60.0)
    assert len(world.got_through) == n * len(endpoints)
    return max(world.got_through.values()) - outage


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("outage", [0.005, 0.1, 0.5, 3.0, 60.0, 3600.0])
@pytest.mark.parametrize("held", [None, {"poll": 30.0}], ids=["answered", "held"])
def test_after_a_mishap_everything_is_back_within_three_seconds(outage, held, seed):
    assert back_after(outage, held=held, seed=seed) < 3.0


def test_one_that_is_alone_is_back_as_soon():
    for seed in range(20):
        assert back_after(30.0, n=1, seed=seed) < 2.0


@pytest.mark.parametrize("count", [3, 12])
@pytest.mark.parametrize("outage", [0.5, 30.0])
def test_all_endpoints_are_back_within_three_seconds(outage, count):
    assert back_after(outage, endpoints=[f"endpoint {number}" for number in range(count)], n=N // count) < 3.0


def test_one_budget_is_for_all_endpoints_and_for_what_comes_new():
    world = World(lambda *_: True)
    for second in range(200):
        for endpoint in ("submit", "poll", "call", "heartbeat"):
            world.at(second, lambda second=second, endpoint=endpoint: world.ask(endpoint, second))
    world.run(200.0)
    steady = [at for at, *_ in world.sent if at >= 10.0]
    assert len(steady) <= 190.0 / PACE + 1


def test_a_moment_at_which_all_are_cut_costs_a_moment():
    assert back_after(0.005) < 0.2


@pytest.mark.parametrize("n", [1, 60, N, 5000])
def test_at_a_server_at_which_all_fails_less_than_one_request_a_second_is_sent(n):
    world = World(lambda *_: True)
    for name in range(n):
        world.ask("poll", name)
    world.run(200.0)
    first_rounds = [at for at, *_ in world.sent if at < 2.0]
    assert len(first_rounds) <= 2 * n + 10
    assert len(world.sent) - len(first_rounds) <= 200.0 / PACE + 1
    # And what comes new waits with the others.
    for name in range(n, 2 * n):
        world.ask("poll", name)
    before = len(world.sent)
    world.run(300.0)
    assert len(world.sent) - before <= 100.0 / PACE + 1


def test_other_endpoints_that_work_are_no_reason_to_ask_one_that_fails():
    world = World(lambda _, endpoint: endpoint == "submit")
    for name in range(N):
        world.ask("submit", name)
    for second in range(300):
        world.at(second, lambda second=second: world.ask("poll", second))
    world.run(300.0)
    assert sum(endpoint == "submit" for at, endpoint, _ in world.sent if at > 2.0) <= 298.0 / PACE + 1


def throughput(p, *, n=3000, in_flight=64, answers_after=0.05, seed=1):
    """Return requests done a second, of `n` with so many under way at a time, where the share `p` of all fails."""
    luck = random.Random(seed)
    world = World(lambda *_: luck.random() < p, seed, answers_after)
    left = iter(range(n))
    finish = world._done

    def done(endpoint, name):
        finish(endpoint, name)
        if (following := next(left, None)) is not None:
            world.ask(endpoint, following)

    world._done = done
    for name in [next(left) for _ in range(in_flight)]:
        world.ask("sample", name)
    world.run(10_000.0)
    assert len(world.done) == n
    return n / max(at for at, *_ in world.done)


@pytest.mark.parametrize(("in_flight", "n"), [(1, 300), (8, 1000), (64, 3000), (400, 6000)])
@pytest.mark.parametrize("p", [0.02, 0.05, 0.10])
def test_where_few_fail_at_least_half_of_the_throughput_is_left(p, in_flight, n):
    assert throughput(p, in_flight=in_flight, n=n) >= throughput(0.0, in_flight=in_flight, n=n) / 2


def test_what_is_left_falls_step_by_step_and_not_off_a_cliff():
    left = [throughput(p) for p in (0.0, 0.2, 0.4, 0.6, 0.8)]
    assert all(less > more / 8 for more, less in itertools.pairwise(left))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.floats(0.0, 20.0), st.floats(0.01, 1.0)), min_size=1, max_size=5),
    st.integers(0, 2**32),
    st.integers(1, 100),
)
def test_whatever_happens_everything_gets_through_once_the_server_is_well(phases, seed, n):
    """Phases of some length, in which a share of the requests fails."""
    luck = random.Random(seed)
    ends, end = [], 0.0
    for length, share in phases:
        end += length
        ends.append((end, share))
    world = World(lambda now, _: luck.random() < next((share for until, share in ends if now < until), 0.0), seed)
    for name in range(n):
        world.ask("x", name)
    world.run(end + 12.0)  # the longest backoff of one alone, and three seconds
    assert len(world.got_through) == n


def test_what_is_told_is_told_from_the_second_round_on_and_while_nothing_succeeds():
    budget = RetryBudget()
    budget.failed("x", 0.0, 1.0, "refused")
    budget.failed("x", 0.5, 1.1, "refused")  # of the same mishap
    assert budget.trouble == ""
    budget.failed("x", 1.2, 1.3, "refused again")
    assert budget.trouble == "refused again"
    budget.succeeded("heartbeat", 2.0)  # the server answers, if not there
    assert budget.trouble == ""
    budget.failed("x", 2.1, 2.2, "busy")
    assert budget.trouble == "busy"
    budget.succeeded("x", 3.0)
    assert budget.trouble == ""
