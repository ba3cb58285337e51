"""Which requests are struck: a function of seed, rule and count, and of nothing else."""

from __future__ import annotations

import random

import pytest

from tinker_actors.local.faults.rules import Rule, parse_rule
from tinker_actors.local.faults.switchboard import Count, Switchboard

ENDPOINTS = ["optim_step", "retrieve_future", "sessions/{}/finish", "asample"]


def struck(board: Switchboard, endpoint: str = "optim_step", requests: int = 12, steps: int = 0) -> list[int]:
    """The numbers, from 1, of the requests that something finally happens to."""
    return [n for n in range(1, requests + 1) if board.decide(endpoint, None, steps).final is not None]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ("", list(range(1, 13))),
        ("times=1", [1]),
        ("times=2:after=3", [4, 5]),
        ("every=5", [5, 10]),
        ("every=4:after=2", [6, 10]),
        ("probability=0", []),
        ("after=20", []),
    ],
)
def test_counts_decide_who_is_struck(conditions, expected):
    board = Switchboard(ENDPOINTS)
    board.add(parse_rule(f"optim_step:reply_lost:{conditions}".rstrip(":")))
    assert struck(board) == expected


def test_a_rule_waits_for_steps_counted_from_when_it_was_added():
    board = Switchboard(ENDPOINTS)
    board.add(parse_rule("optim_step:reply_lost:after_step=2:times=1"), steps=10)
    assert struck(board, steps=11) == []
    assert struck(board, steps=12) == [1]
    assert board.counts() == {"optim_step:reply_lost": Count(12, 1)}


def test_chance_repeats_with_the_seed_and_differs_with_another():
    def pattern(seed: int) -> list[int]:
        board = Switchboard(ENDPOINTS, seed)
        board.add(parse_rule("optim_step:reset_before:probability=0.3"))
        return struck(board, requests=400)

    assert pattern(1) == pattern(1) != pattern(2)
    assert 80 <= len(pattern(1)) <= 160


def test_chance_is_not_disturbed_by_other_rules_or_other_requests():
    alone = Switchboard(ENDPOINTS, 7)
    alone.add(Rule(endpoint="optim_step", kind="reset_before", probability=0.5))
    busy = Switchboard(ENDPOINTS, 7)
    busy.add(Rule(endpoint="asample", kind="status", status=500, probability=0.5))
    busy.add(Rule(endpoint="optim_step", kind="reset_before", probability=0.5))
    noise = random.Random(0)
    pattern = []
    for number in range(1, 201):
        for _ in range(noise.randrange(3)):
            busy.decide("asample", None, 0)
        if busy.decide("optim_step", None, 0).final is not None:
            pattern.append(number)
    assert pattern == struck(alone, requests=200)


def test_a_request_has_one_final_fault_and_any_number_beside_it():
    board = Switchboard(ENDPOINTS)
    for text in ("*:delay:seconds=1", "*:reply_lost:times=1", "*:status=500", "*:duplicated"):
        board.add(parse_rule(text))
    first, second = (board.decide("asample", None, 0) for _ in range(2))
    assert [rule.kind for rule in first.asides] == ["delay", "duplicated"]
    assert first.final is not None
    assert first.final.kind == "reply_lost"
    assert second.final is not None
    assert second.final.kind == "status"
    assert board.counts()["*:status"] == Count(2, 1)


def test_faults_of_results_strike_polls_only_and_can_be_for_one_operation():
    board = Switchboard(ENDPOINTS)
    board.add(parse_rule("*:paused_capacity:of=sample"))
    assert not struck(board)
    assert not struck(board, "retrieve_future")
    assert board.decide("retrieve_future", "sample", 0).final is not None


def test_names_are_given_kept_apart_and_found_again():
    board = Switchboard(ENDPOINTS)
    names = [board.add(parse_rule("optim_step:reply_lost")).name for _ in range(2)]
    assert names == ["optim_step:reply_lost", "optim_step:reply_lost#2"]
    board.add(parse_rule("asample:reply_lost:name=mine"))
    with pytest.raises(ValueError, match="mine"):
        board.add(parse_rule("asample:reply_lost:name=mine"))
    assert board.remove("mine")
    assert not board.remove("mine")
    assert [rule.name for rule in board.rules()] == names
    board.clear()
    assert board.rules() == []
    assert board.counts() == {}


@pytest.mark.parametrize("text", ["optim_stp:reply_lost", "optim_step:evicted", "asample:reply_lost:of=sample"])
def test_a_rule_that_could_never_strike_is_refused(text):
    with pytest.raises(ValueError, match=r"no endpoint|about polls"):
        Switchboard(ENDPOINTS).add(parse_rule(text))


def test_endpoints_with_ids_in_them_are_found_by_pattern():
    board = Switchboard(ENDPOINTS)
    board.add(parse_rule("sessions/*/finish:status=503"))
    assert board.concerns("sessions/session-1/finish")
    assert not board.concerns("optim_step")
