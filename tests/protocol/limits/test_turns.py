"""Lines and turns: the urgent first, then in order; nobody waits behind somebody's long hold."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinker_actors.protocol.limits.lines import LEAST, RANKS, Line
from tinker_actors.protocol.limits.turns import HELD, Turns

TRAIN, ROLLOUT, EVAL = range(RANKS)


def drain(line):
    return [line.popleft() for _ in range(line.length)]


def test_the_more_urgent_go_first_and_alike_in_order():
    line = Line()
    for item, rank in (("e1", EVAL), ("r1", ROLLOUT), ("t1", TRAIN), ("r2", ROLLOUT), ("e2", EVAL)):
        line.append(item, rank)
    assert line.first_rank() == TRAIN
    assert drain(line) == ["t1", "r1", "r2", "e1", "e2"]
    assert line.first_rank() is None
    with pytest.raises(IndexError):
        line.popleft()


def test_who_was_turned_back_goes_first_in_the_old_order_but_not_before_the_more_urgent():
    line = Line()
    for number in range(5):
        line.append(number, ROLLOUT)
    taken = [line.popleft() for _ in range(3)]
    for number in (taken[2], taken[0], taken[1]):
        line.give_back(number, ROLLOUT, number)
    line.append("urgent", TRAIN)
    assert drain(line) == ["urgent", 0, 1, 2, 3, 4]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, LEAST), st.booleans()), max_size=60))
def test_nobody_is_lost_and_the_order_holds(steps):
    line, taken = Line(), []
    for number, (rank, take) in enumerate(steps):
        line.append((rank, number), rank)
        if take:
            taken.append(line.popleft())
    for rank, number in taken:
        line.give_back((rank, number), rank, number)
    assert line.length == len(steps)
    assert drain(line) == sorted((rank, number) for number, (rank, _) in enumerate(steps))


def full(most, rank=ROLLOUT, now=0.0):
    turns = Turns(most)
    held = []
    while turns.free(rank):
        poll = f"held {len(held)}"
        turns.hold(poll, rank, now + len(held) / 1000)
        held.append(poll)
    return turns, held


def test_so_many_hold_connections_and_the_others_wait():
    turns, held = full(5)
    assert (turns.out, len(held)) == (5, 5)
    turns.waiting.append("next", ROLLOUT)
    assert turns.next() is None
    turns.release(held[2], ROLLOUT)
    assert not turns.free(ROLLOUT)  # somebody waits
    assert turns.free(TRAIN)
    assert turns.next() == "next"


def test_nothing_is_given_up_while_nobody_waits():
    turns, _ = full(2)
    assert turns.to_give_up(1e6) is None


def test_who_was_held_longest_gives_way_after_two_seconds():
    turns, held = full(3)
    turns.waiting.append("next", ROLLOUT)
    assert turns.to_give_up(HELD - 0.01) is None
    assert turns.next_look(HELD - 0.01) == pytest.approx(0.01)
    assert turns.to_give_up(HELD) == held[0]
    turns.release(held[0], ROLLOUT)
    assert turns.next() == "next"


def test_a_firm_poll_is_not_given_up():
    turns = Turns(2)
    turns.hold("firm", ROLLOUT, 0.0, firm=True)
    turns.hold("other", ROLLOUT, 1.0)
    turns.waiting.append("next", ROLLOUT)
    assert turns.to_give_up(100.0) == "other"
    turns.release("firm", ROLLOUT)
    assert turns.out == 1


def test_evaluations_leave_connections_free_and_give_way_to_rollouts_at_once():
    turns, held = full(80, EVAL)
    assert len(held) == 70
    assert turns.free(ROLLOUT)
    for number in range(10):
        turns.hold(number, ROLLOUT, 0.0)
    turns.waiting.append("rollout", ROLLOUT)
    assert turns.next_look(0.05) <= 0.1
    assert turns.to_give_up(0.15) == held[0]


def test_rollouts_do_not_give_way_to_evaluations():
    turns, _ = full(4, ROLLOUT)
    turns.waiting.append("eval", EVAL)
    assert turns.to_give_up(1e6) is None


def test_a_single_connection_is_open_to_evaluations():
    assert Turns(1).free(EVAL)


def test_a_poll_that_waits_for_more_urgent_ones_to_be_held_for_a_moment_is_looked_at_then():
    turns, held = full(80, EVAL)
    for number in range(10):
        turns.hold(number, ROLLOUT, 0.0)
    turns.waiting.append("rollout", ROLLOUT)
    assert turns.to_give_up(0.06) is None
    assert turns.next_look(0.06) == pytest.approx(0.04)
    assert turns.to_give_up(0.1) == held[0]


def test_what_rollouts_held_lately_is_not_taken_by_evaluations():
    turns = Turns(80)
    for number in range(30):
        turns.hold(number, ROLLOUT, 0.0)
    evals = 0
    while turns.free(EVAL):
        turns.hold(f"eval {evals}", EVAL, 0.0)
        evals += 1
    assert evals == 50
    for number in range(30):
        turns.release(number, ROLLOUT)
    turns.waiting.append("eval", EVAL)
    assert turns.to_give_up(0.5) is None
    assert turns.next() is None
    assert turns.next_look(0.5) == pytest.approx(0.5)
    # It is free for them again when no rollout has come for a while; the share that is always left stays.
    turns.release("eval 0", EVAL)
    for now in (HELD, 2 * HELD):
        turns.hold("eval 0", EVAL, now, firm=True)
        turns.release("eval 0", EVAL)
    taken = 0
    while (poll := turns.next()) is not None:
        turns.hold((poll, taken), EVAL, 2 * HELD)
        turns.waiting.append("eval", EVAL)
        taken += 1
    assert turns.out == 70


@settings(deadline=None, max_examples=40)
@given(
    most=st.integers(1, 120),
    extra=st.integers(1, 300),
    rank=st.sampled_from([ROLLOUT, EVAL]),
    together=st.booleans(),
    late=st.lists(st.floats(0.0, 0.05), min_size=1, max_size=8),
)
def test_turns_change_one_by_one_and_everybody_has_one(most, extra, rank, together, late):
    turns = Turns(most)
    begun, turns_had, changes = {}, dict.fromkeys(range(most + extra), 0), []

    def begin(poll, now):
        turns.hold(poll, rank, now)
        begun[poll] = now
        turns_had[poll] += 1

    for poll in turns_had:
        if turns.free(rank):
            begin(poll, 0.0 if together else poll / 1000)
        else:
            turns.waiting.append(poll, rank)
    held, now, looks = turns.out, 0.2, 0
    full_rounds = -(-(most + extra) // held) + 2
    while now < full_rounds * 2 * HELD:
        while (poll := turns.to_give_up(now)) is not None:
            assert now - begun[poll] >= HELD - 1e-9
            turns.release(poll, rank)
            turns.waiting.append(poll, rank)
            begin(turns.next(), now)
            changes.append(now)
        assert turns.out == held
        now += turns.next_look(now) + late[looks % len(late)]
        looks += 1
    # Everybody had a turn, and nobody two more than others.
    assert min(turns_had.values()) >= 1
    assert max(turns_had.values()) - min(turns_had.values()) <= 1
    # In no tenth of a second there are more than its share, and what one look later than usual makes up for.
    share = held / HELD
    for index, first in enumerate(changes):
        within = sum(1 for change in changes[index:] if change - first < 0.1)
        assert within <= share * (0.1 + 0.01) + 2


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.integers(1, 20),
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.03, 0.4]), st.booleans(), st.sampled_from([ROLLOUT, EVAL])),
        min_size=40,
        max_size=80,
    ),
)
def test_evaluations_begin_only_where_no_more_urgent_poll_was_within_a_second(most, steps):
    turns, now, urgent, held = Turns(most), 0.0, [(0.0, 0)], {ROLLOUT: [], EVAL: []}
    for number, (seconds, begins, rank) in enumerate(steps):
        now += seconds
        if begins and turns.free(rank):
            if rank == EVAL:
                lately = [count for since, count in urgent if now - since < 1.0] + [len(held[ROLLOUT])]
                assert len(held[EVAL]) < most - max(most // 8, *lately)
            turns.hold(number, rank, now)
            held[rank].append(number)
        elif held[rank]:
            turns.release(held[rank].pop(), rank)
        urgent.append((now, len(held[ROLLOUT])))
        assert turns.out == len(held[ROLLOUT]) + len(held[EVAL]) <= most
