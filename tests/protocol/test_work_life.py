"""The life of a work: its table, and that the lanes do as it says. Every test looks, see `tests/conftest.py`."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import get_args

import pytest

import tinker_actors as ta
from tinker_actors.protocol.work_life import FLAGS, TRANSITIONS, WAITING_HERE, IllegalTransitionError, State, check
from tinker_actors.testing import Mishaps, Simulation

STATES = set(get_args(State))
ACTORS = Path(ta.__file__).parent / "actors"
STORM = Mishaps(
    refused=0.1, request_lost=0.1, answer_lost=0.15, twice=0.1, busy=0.1, throttled=0.1, slow=0.4, longest=8.0
)


def test_the_table_has_every_state_and_no_other():
    assert set(TRANSITIONS) == STATES
    assert set().union(*TRANSITIONS.values(), *FLAGS.values(), WAITING_HERE) <= STATES


def test_every_state_can_be_reached_and_leads_to_the_end():
    def reached(start):
        seen, ahead = set(), [start]
        while ahead:
            seen.add(state := ahead.pop())
            ahead += TRANSITIONS[state] - seen
        return seen

    assert reached("new") == STATES
    assert all("done" in reached(state) for state in STATES)
    assert reached("done") == {"done"}


@pytest.mark.parametrize(
    ("before", "after", "flags"),
    [
        ("done", "queued", ()),
        ("new", "polling", ()),
        ("parked", "submitting", ()),
        ("queued", "outside", ("roomed",)),
        ("queued", "submitting", ("told",)),
        ("polling", "done", ("at_server",)),
    ],
)
def test_what_the_table_does_not_have_is_refused(before, after, flags):
    with pytest.raises(IllegalTransitionError):
        check(before, after, frozenset(flags))


def test_the_lanes_know_the_states_of_the_table():
    """All states that the code names are the table's, and each of them is given somewhere."""
    given, asked = {"new"}, set()
    for path in ACTORS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in {"work.state", "item.state"}:
                given.add(ast.literal_eval(node.value))
            elif isinstance(node, ast.Compare) and ast.unparse(node.left) in {"work.state", "item.state"}:
                asked |= {each.value for each in ast.walk(node) if isinstance(each, ast.Constant)}
    assert given == STATES
    assert asked <= STATES


def test_an_illegal_change_of_a_work_raises_in_tests(lives):
    simulation = Simulation(0)
    service = simulation.service()
    future = service.create_sampling_client(base_model="local/ledger").sample([1, 2], 1, {"max_tokens": 2})
    (work,) = service._service.lanes.tables["sample"].values()
    with pytest.raises(IllegalTransitionError, match="new can't be followed by polling"):
        work.state = "polling"
    assert lives.wrong.pop().endswith("new can't be followed by polling")
    lives.slot.__set__(work, "new")
    simulation.wait_for(future)
    simulation.close(service)
