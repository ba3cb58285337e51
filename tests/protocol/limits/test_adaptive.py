"""The adaptive limit against simulated servers: it finds what they take, and few requests are refused on the way."""

from __future__ import annotations

import heapq
import itertools
import random

import pytest

from tinker_actors.protocol.limits.adaptive import AdaptiveLimit
from tinker_actors.protocol.limits.lines import LEAST, Line

ROUND_TRIP = 0.002
SAMPLES = 4_000
LOOK_EVERY = 0.1
PAUSE = 1.0


class Fixed:
    """What the adaptive limit is compared with: a number that somebody knew."""

    known = True

    def __init__(self, limit):
        self.limit = limit
        self.there = 0

    def allows(self, *, leave_free=False):
        return self.there < self.limit - (self.limit // 4 if leave_free else 0)

    def try_more(self):
        return False

    def sent(self):
        self.there += 1
        return 0

    def accepted(self, number):
        pass

    def refused(self, number):
        self.there -= 1
        return "resend"

    def ended(self):
        self.there -= 1


class Service:
    """A server with a capacity or a rate, and a client that has more to submit than it takes. Virtual time.

    Args:
        limit: the client's.
        capacity: requests worked on at a time.
        queue: requests that may wait for it; more are refused.
        rate: requests taken per second instead, in bursts of 20.
        spread: "fixed" or "exponential" service times.
    """

    def __init__(self, limit, capacity=None, *, seconds=0.05, queue=0, rate=None, spread="fixed", seed=1):
        self.limit, self.capacity, self.seconds, self.queue, self.rate = limit, capacity, seconds, queue, rate
        self.spread = spread
        self.random = random.Random(seed)
        self.now = 0.0
        self.events, self.order = [], itertools.count()
        self.running, self.waiting = 0, []
        self.tokens, self.filled = 20.0, 0.0
        self.line, self.urgent = Line(), False
        self.paused_until = 0.0
        self.submitted = self.refused = self.pauses = 0
        self.finished = []  # when, rank, how long it took
        self.most = 0
        self.on_end = lambda rank: None
        self.at(LOOK_EVERY, self.look)

    def at(self, delay, action, *arguments):
        heapq.heappush(self.events, (self.now + delay, next(self.order), action, arguments))

    def journey(self):
        return ROUND_TRIP / 2 * self.random.uniform(0.7, 1.3)

    def run(self, until):
        while not until() and self.events:
            self.now, _, action, arguments = heapq.heappop(self.events)
            action(*arguments)

    # the client

    def offer(self, count, rank=1):
        for _ in range(count):
            self.line.append((self.now, rank), rank)
        self.pump()

    def pump(self):
        while self.now >= self.paused_until and (rank := self.line.first_rank()) is not None:
            if not self.limit.allows(leave_free=self.urgent and rank == LEAST):
                return
            sample = self.line.popleft()
            self.submitted += 1
            self.at(self.journey(), self.arrive, sample, self.limit.sent())

    def look(self):
        if self.line.length and not self.limit.allows():
            self.limit.try_more()
        self.pump()
        self.at(LOOK_EVERY, self.look)

    def on_accepted(self, number):
        self.limit.accepted(number)
        self.pump()

    def on_refused(self, sample, number):
        self.refused += 1
        self.line.give_back(sample, sample[1], next(self.order))
        if self.limit.refused(number) == "pause" and self.now >= self.paused_until:
            self.pauses += 1
            self.paused_until = self.now + PAUSE
            self.at(PAUSE, self.pump)
        if not isinstance(self.limit, Fixed):
            self.pump()

    def on_ended(self, sample):
        self.limit.ended()
        self.finished.append((self.now, sample[1], self.now - sample[0]))
        self.on_end(sample[1])
        self.pump()

    # the server

    def takes(self):
        if self.rate is None:
            return self.running < self.capacity or len(self.waiting) < self.queue
        self.tokens = min(20.0, self.tokens + (self.now - self.filled) * self.rate)
        self.filled = self.now
        taken = self.tokens >= 1
        self.tokens -= taken
        return taken

    def arrive(self, sample, number):
        if not self.takes():
            self.at(self.journey(), self.on_refused, sample, number)
            return
        self.at(self.journey(), self.on_accepted, number)
        if self.rate is not None or self.running < self.capacity:
            self.begin(sample)
        else:
            self.waiting.append(sample)
        self.most = max(self.most, self.running + len(self.waiting))

    def begin(self, sample):
        self.running += 1
        seconds = self.seconds if self.spread == "fixed" else self.random.expovariate(1 / self.seconds)
        self.at(max(seconds, ROUND_TRIP), self.end, sample)  # not heard of before the acceptance

    def end(self, sample):
        self.running -= 1
        self.at(self.journey(), self.on_ended, sample)
        if self.waiting and self.running < self.capacity:
            self.begin(self.waiting.pop(0))

    # what came of it

    def rejected(self):
        return self.refused / self.submitted

    def throughput(self, since=0.0, until=0.95):
        """Return samples per second between two shares of the run; its tail is as long as its longest sample."""
        first, last = int(since * len(self.finished)), int(until * len(self.finished)) - 1
        return (last - first) / (self.finished[last][0] - (self.finished[first][0] if first else 0.0))


def work_off(limit, capacity=None, *, samples=SAMPLES, changes=(), **server):
    service = Service(limit, capacity, **server)
    for when, change in changes:
        service.at(when, setattr, service, "capacity", change)
    service.offer(samples)
    service.run(lambda: len(service.finished) == samples)
    return service


@pytest.mark.slow
@pytest.mark.parametrize("spread", ["fixed", "exponential"])
@pytest.mark.parametrize("queue", [0, 0.25])
@pytest.mark.parametrize("capacity", [8, 64, 512])
def test_it_finds_the_capacity_with_few_refusals(capacity, queue, spread):
    # As long as makes a thousand a second at most, so that finding out is a part of the run like of any other.
    server = {"seconds": max(0.05, capacity / 1000), "queue": int(capacity * queue), "spread": spread}
    fixed = [work_off(Fixed(round(share * capacity)), capacity, **server) for share in (0.75, 1.0, 1.25)]
    found = work_off(AdaptiveLimit(), capacity, **server)
    assert found.throughput() >= 0.9 * max(service.throughput() for service in fixed)
    assert found.rejected() < 0.05
    assert found.pauses == 0


def test_a_limit_that_is_too_low_or_ignored_would_be_found():
    server = {"queue": 16, "spread": "exponential"}
    best = work_off(Fixed(64), 64, **server)
    assert work_off(Fixed(48), 64, **server).throughput() < 0.9 * best.throughput()
    assert work_off(Fixed(640), 64, samples=1000, **server).rejected() > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("spread", ["fixed", "exponential"])
@pytest.mark.parametrize(("before", "after"), [(64, 16), (16, 128)])
def test_a_capacity_that_changes_is_found_again(before, after, spread):
    changes = [(1.0, after)]
    best = max(
        work_off(Fixed(limit), before, samples=8_000, changes=changes, spread=spread).throughput()
        for limit in (before, after)
    )
    found = work_off(AdaptiveLimit(), before, samples=8_000, changes=changes, spread=spread)
    assert found.throughput() >= 0.9 * best
    assert found.rejected() < 0.05
    assert 0.8 * after <= found.limit.limit <= 1.2 * after


@pytest.mark.parametrize(("rate", "seconds"), [(50, 0.2), (300, 0.05), (300, 0.2)])
def test_a_server_that_limits_the_rate_is_used_to_the_most_part_with_few_refusals(rate, seconds):
    found = work_off(AdaptiveLimit(), rate=rate, seconds=seconds, samples=8_000, spread="exponential")
    assert found.throughput(since=0.25) >= 0.7 * rate
    assert found.rejected() < 0.05


def test_a_server_without_a_limit_is_filled_within_milliseconds():
    service = Service(AdaptiveLimit(), 10**9, seconds=1000.0)
    service.offer(10_000)
    service.run(lambda: service.running == 10_000)
    assert service.now < 60 * ROUND_TRIP
    assert not service.limit.known


@pytest.mark.parametrize("capacity", [64, 80])
def test_evaluations_share_the_limit_and_do_not_delay_rollouts(capacity):
    def rollouts_of(evals):
        service = Service(AdaptiveLimit(), 64, queue=capacity - 64, seconds=0.1, seed=3, spread="fixed")
        service.urgent = True
        service.on_end = lambda rank: rank == 1 and service.at(0.001, service.offer, 1, 1)
        service.offer(evals, LEAST)
        service.offer(32, 1)
        service.run(lambda: service.now > 10.0)
        taken = sorted(seconds for when, rank, seconds in service.finished if rank == 1 and when > 3.0)
        return taken, sum(rank == LEAST for _, rank, _ in service.finished), service

    alone, _, _ = rollouts_of(0)
    beside, evals, service = rollouts_of(5_000)
    for share in (0.5, 0.95):
        assert beside[int(share * len(beside))] <= 1.1 * alone[int(share * len(alone))]
    assert evals > 1_000
    assert service.rejected() < 0.05


def test_one_burst_is_one_event():
    limit = AdaptiveLimit()
    numbers = [limit.sent() for _ in range(16)]
    assert not limit.allows()
    for number in numbers[:8]:
        limit.accepted(number)
    assert {limit.refused(number) for number in numbers[8:]} == {"resend"}
    assert (limit.held, limit.submitting) == (8, 0)
    assert 8 <= limit.limit <= 9
    while not limit.allows():
        limit.ended()
    assert limit.held >= 7


def test_acceptances_behind_the_refusals_of_their_burst_count():
    limit = AdaptiveLimit()
    numbers = [limit.sent() for _ in range(16)]
    for number in numbers[:4]:
        assert limit.refused(number) == "resend"
    assert limit.limit == 8
    for number in numbers[4:]:
        limit.accepted(number)
    assert limit.limit == 12


def test_a_single_refusal_may_have_come_by_chance():
    limit = AdaptiveLimit()
    for number in [limit.sent() for _ in range(16)]:
        limit.accepted(number) if number != 7 else limit.refused(number)
    assert not limit.known
    assert limit.limit > 16


@pytest.mark.parametrize(("chance", "least"), [(0.01, 500), (0.03, 100), (0.05, 10)])
def test_a_server_that_refuses_at_random_is_not_given_up(chance, least):
    service = Service(AdaptiveLimit(), 10**9, seconds=0.5, spread="exponential")
    takes = service.takes
    service.takes = lambda: takes() and service.random.random() > chance
    service.offer(20_000)
    service.run(lambda: service.now > 10.0 or len(service.finished) == 20_000)
    assert service.limit.limit > least


def test_a_refusal_with_nothing_of_ours_at_the_server_is_for_time_to_mend():
    limit = AdaptiveLimit()
    for _ in range(5):
        assert limit.refused(limit.sent()) == "pause"
    assert limit.limit == 1


def test_refusals_in_a_row_that_cutting_does_not_end_are_for_time_to_mend():
    limit = AdaptiveLimit()
    for _ in range(12):
        limit.accepted(limit.sent())
    advice = []
    while "pause" not in advice:
        limit.ended() if limit.held > 1 else None
        advice.append(limit.refused(limit.sent()))
    assert 3 <= len(advice) <= 20
    assert limit.limit < 12


def starve(limit, times=20):
    """Have the server refuse all that is sent, with nothing of ours there."""
    for _ in range(times):
        limit.refused(limit.sent())


def trips_until(limit, there):
    """Return after how many round trips so many are held, where the server takes all that is offered."""
    trips = 0
    while limit.held < there:
        limit.try_more()
        trips += 1
        numbers = []
        while limit.allows():
            numbers.append(limit.sent())
        for number in numbers:
            limit.accepted(number)
    return trips


def test_a_server_that_took_nothing_for_a_while_is_offered_more_with_each_it_takes():
    limit = AdaptiveLimit()
    starve(limit)
    assert limit.limit == 1
    assert trips_until(limit, 400) < 60  # as quickly as at first: 31 from sixteen on


def test_a_known_limit_is_offered_again_and_not_more():
    limit = AdaptiveLimit()
    for _ in range(40):
        limit.accepted(limit.sent())
    for _ in range(2):
        limit.refused(limit.sent())
    known = limit.limit
    assert limit.known
    limit.ended()
    limit.accepted(limit.sent())
    while limit.held:
        limit.ended()
    starve(limit)
    assert trips_until(limit, known) < 20
    for _ in range(15):  # now it is tried for more as rarely as before
        limit.ended()
        limit.accepted(limit.sent())
    assert limit.limit <= known + 5


def test_a_refusal_ends_the_return():
    limit = AdaptiveLimit()
    starve(limit)
    trips_until(limit, 3)
    for _ in range(2):
        limit.refused(limit.sent())
    found = limit.limit
    assert found <= 4
    limit.ended()
    limit.accepted(limit.sent())
    assert limit.limit <= found + 1


def test_a_server_that_says_that_it_pauses_is_sent_less_once_a_second_and_then_more_again():
    limit = AdaptiveLimit()
    for _ in range(20):
        limit.accepted(limit.sent())
    limit.server_paused(100.0)
    limit.server_paused(100.9)
    assert limit.limit == 16
    limit.server_paused(101.0)
    assert limit.limit == 16  # what is there is no more than before; nothing was sent since
    for _ in range(10):
        limit.ended()
    limit.server_paused(102.0)
    assert limit.limit == 8
    for _ in range(60):
        while limit.allows():
            limit.accepted(limit.sent())
        limit.ended()
    assert limit.limit >= 20


def test_lowering_the_limit_below_what_is_there_just_waits():
    limit = AdaptiveLimit()
    for _ in range(20):
        limit.accepted(limit.sent())
    limit.server_paused(0.0)
    assert not limit.allows()
    ends = 0
    while not limit.allows():
        limit.ended()
        ends += 1
    assert ends == 5


def test_what_a_lane_before_this_one_had_there_counts():
    limit = AdaptiveLimit()
    for _ in range(100):
        limit.adopted()
    assert limit.held == 100
    for _ in range(100):
        limit.ended()
    assert limit.allows()


def test_evaluations_leave_a_quarter_of_a_known_limit_free_and_all_of_it_when_they_are_alone():
    limit = AdaptiveLimit()
    numbers = [limit.sent() for _ in range(16)]
    for number in numbers[:12]:
        limit.accepted(number)
    for number in numbers[12:]:
        limit.refused(number)
    for _ in range(3):
        limit.ended()
    assert limit.limit == 12
    assert not limit.allows(leave_free=True)
    assert limit.allows()
    limit.ended()
    assert limit.allows(leave_free=True)


def test_a_limit_of_one_is_open_to_evaluations_too():
    limit = AdaptiveLimit()
    for _ in range(5):
        limit.refused(limit.sent())
    assert limit.limit == 1
    assert limit.allows(leave_free=True)


def test_refusals_by_chance_do_not_take_back_what_a_pause_cost():
    limit = AdaptiveLimit()
    for _ in range(40):
        limit.accepted(limit.sent())
    for turn in range(1, 11):
        limit.server_paused(10.0 * turn)
        while limit.held > 4:
            limit.ended()
        for _ in range(2):
            limit.refused(limit.sent())
        for _ in range(200):
            while limit.allows():
                limit.accepted(limit.sent())
            limit.ended()
    assert limit.limit >= 40
