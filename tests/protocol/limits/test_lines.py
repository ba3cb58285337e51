"""Lines: urgency first, then what was turned back, then the order of coming."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinker_actors.protocol.limits.lines import LEAST, RANKS, Line


def emptied(line):
    found = []
    while line.length:
        found.append(line.popleft())
    return found


def test_the_more_urgent_go_first_and_the_rest_in_the_order_of_coming():
    line = Line()
    for item, rank in [("e1", LEAST), ("r1", 1), ("e2", LEAST), ("t1", 0), ("r2", 1)]:
        line.append(item, rank)
    assert line.first_rank() == 0
    assert emptied(line) == ["t1", "r1", "r2", "e1", "e2"]
    assert line.first_rank() is None


def test_what_is_given_back_goes_first_in_its_rank_and_in_its_old_order():
    line = Line()
    line.append("new", 1)
    line.give_back("third", 1, 3)
    line.give_back("first", 1, 1)
    line.give_back("second", 1, 2)
    line.append("urgent", 0)
    assert emptied(line) == ["urgent", "first", "second", "third", "new"]


def test_nobody_can_be_taken_out_of_an_empty_line():
    with pytest.raises(IndexError, match="nobody waits"):
        Line().popleft()


@given(st.lists(st.one_of(st.integers(0, RANKS - 1), st.none(), st.just(-1)), max_size=60))
def test_it_is_a_stable_sort_by_rank(events):
    """A number comes with that rank, None takes the next out, -1 gives the one that was taken last back."""
    line, model, taken, number = Line(), [], None, 0
    for event in events:
        if event is None and model:
            taken = min(model)
            model.remove(taken)
            assert line.first_rank() == taken[0]
            assert line.popleft() == taken
        elif event == -1 and taken is not None:
            line.give_back(taken, taken[0], taken[1])
            model.append(taken)
            taken = None
        elif event not in (None, -1):
            line.append((event, number), event)
            model.append((event, number))
            number += 1
        assert (line.length, line.urgent) == (len(model), sum(rank != LEAST for rank, _ in model))
        assert line.length == len(model)
    assert emptied(line) == sorted(model)


def test_who_is_sifted_out_leaves_the_others_their_places():
    line = Line()
    for number in range(6):
        line.append(number, number % 3)
    line.give_back(6, 0, 2)
    line.give_back(7, 0, 1)
    line.sift(lambda number: number not in (0, 4, 6))
    assert (line.length, line.urgent) == (5, 3)
    assert [line.popleft() for _ in range(5)] == [7, 3, 1, 2, 5]
    assert (line.length, line.urgent) == (0, 0)
