"""The step runtime: schedules from a seed, a clock that moves only when nothing else can."""

from __future__ import annotations

import logging

import pytest

from tinker_actors.runtime.actor import RuntimeActor
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.progress import Tracker
from tinker_actors.testing import FakeClock, StepRuntime


class Player(RuntimeActor):
    """Passes a ball on, and writes down who had it."""

    def __init__(self, executor, name, score):
        super().__init__(executor)
        self.name, self.score = name, score
        self.next_ref = None

    def receive(self, message):
        self.score.append((self.name, message))
        if message > 0 and self.next_ref is not None:
            self.next_ref.tell(message - 1)
        return message


def play(seed):
    runtime, score = StepRuntime(seed), []
    players = [Player(runtime, name, score) for name in "abc"]
    for player, following in zip(players, players[1:] + players[:1], strict=True):
        player.next_ref = following.actor_ref
        runtime.run(player)
    for player in players:
        player.actor_ref.tell(5)
        runtime.post(lambda player=player: score.append((player.name, "callback")))
    while runtime.step():
        pass
    return score


def test_the_same_seed_gives_the_same_interleaving_and_another_seed_another():
    games = {seed: play(seed) for seed in range(5)}
    assert all(play(seed) == game for seed, game in games.items())
    assert len({tuple(game) for game in games.values()}) == 5
    assert len({tuple(sorted(map(str, game))) for game in games.values()}) == 1


def test_over_the_seeds_any_of_the_waiting_goes_first():
    assert {play(seed)[0] for seed in range(40)} == {("a", 5), ("b", 5), ("c", 5), ("a", "callback")}


def test_messages_to_one_actor_keep_their_order():
    for seed in range(20):
        runtime, score = StepRuntime(seed), []
        refs = [Player.start(runtime, name, score) for name in "ab"]
        for number in range(-10, 0):
            for ref in refs:
                ref.tell(number)
        while runtime.step():
            pass
        for name in "ab":
            assert [number for player, number in score if player == name] == list(range(-10, 0))


def test_the_clock_stands_still_while_there_is_something_to_do():
    runtime, score = StepRuntime(3), []
    ref = Player.start(runtime, "a", score)
    start = runtime.clock.now()
    runtime.timers.call_at(start + 60, lambda: score.append(runtime.clock.now() - start))
    runtime.timers.call_at(start + 30, lambda: ref.tell(int(runtime.clock.now() - start)))
    ref.tell(1)
    runtime.post(lambda: ref.tell(2))
    for _ in range(3):
        assert runtime.step()
    assert runtime.clock.now() == start
    while runtime.step():
        pass
    assert score == [("a", 1), ("a", 2), ("a", 30), 60.0]
    assert runtime.clock.now() == start + 60
    assert not runtime.step()


def test_a_timer_that_was_due_earlier_does_not_turn_the_clock_back():
    clock = FakeClock(50.0)
    runtime = StepRuntime(0, clock)
    seen = []
    runtime.timers.call_at(10.0, lambda: seen.append(clock.now()))
    runtime.step()
    assert seen == [50.0]
    clock.advance_to(40.0)
    assert clock.now() == 50.0


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_a_callback_that_raises_is_logged_and_the_next_step_goes_on(kind, caplog):
    runtime, seen = StepRuntime(0), []

    def fail():
        raise kind("wrong")

    runtime.post(fail)
    runtime.post(lambda: seen.append("next"))
    runtime.timers.call_at(0.0, fail)
    runtime.timers.call_at(0.0, lambda: seen.append("timer"))
    while runtime.step():
        pass
    assert seen == ["next", "timer"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2


def test_run_until_stops_as_soon_as_the_condition_holds():
    runtime, score = StepRuntime(0), []
    ref = Player.start(runtime, "a", score)
    for number in range(-5, 0):
        ref.tell(number)
    runtime.run_until(lambda: len(score) == 3)
    assert len(score) == 3


def test_run_until_says_when_the_condition_can_not_come_true():
    runtime = StepRuntime(0)
    with pytest.raises(AssertionError, match="nothing is left to do"):
        runtime.run_until(lambda: False)


def test_run_until_gives_up_after_its_number_of_steps():
    runtime, score = StepRuntime(0), []
    ref = Player.start(runtime, "a", score)
    for _ in range(10):
        ref.tell(0)
    with pytest.raises(AssertionError):
        runtime.run_until(lambda: False, most=4)
    assert len(score) == 4


def test_it_delivers_callbacks_of_futures_as_steps():
    runtime, seen = StepRuntime(0), []
    future = APIFuture(Tracker("sample", runtime.clock.now()), delivery=runtime)
    future.add_done_callback(lambda done: seen.append(done.result()))
    future._settle(7)
    assert seen == []
    assert runtime.step()
    assert seen == [7]
