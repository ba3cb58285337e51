"""What a request says of the failures that its caller knew of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinker_actors.types.failures import EVERY, known_failures_in, known_failures_text

NUMBERS = st.integers(0, 2**63 - 2)
RUNS = st.builds(lambda first, more: range(first, first + 1 + more), NUMBERS, st.integers(0, 5))


@given(st.lists(RUNS, max_size=5))
def test_what_is_written_is_read(runs):
    assert known_failures_in(known_failures_text(runs)) == tuple(runs)


def test_all_and_nothing():
    assert known_failures_text([range(3, 4), EVERY]) == "*"
    assert known_failures_in("*") == (EVERY,)
    assert known_failures_text([range(0)]) == ""
    assert known_failures_in("  ") == ()


@pytest.mark.parametrize("text", ["x", "-1", "1-2-3", "1 2", "٣", "1" * 20, "1-x", "**"])
def test_what_cant_be_read_is_said(text):
    with pytest.raises(ValueError, match="no number"):
        known_failures_in(text)
