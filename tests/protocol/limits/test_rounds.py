"""What a peer was silent, and what its judge slept."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tinker_actors.protocol.limits.rounds import Rounds


def test_rounds_in_time_lose_nothing_and_a_late_one_what_it_is_late():
    rounds = Rounds(10.0, 100.0)
    assert rounds.lost(110.0) == 0
    assert rounds.lost(121.0) == 0
    assert rounds.lost(3731.0) == 3600.0
    assert rounds.lost(3741.0) == 0


def test_a_look_between_two_rounds_finds_it_first():
    rounds = Rounds(10.0, 0.0)
    assert rounds.lost(3605.0) == 3595.0
    assert rounds.lost(3606.0) == 0


@given(st.lists(st.floats(0.0, 1e5), max_size=50), st.floats(0.1, 60.0))
def test_what_is_left_of_each_pause_is_at_most_two_rounds(pauses, every):
    """So silence less what was lost grows only with rounds in which somebody looked."""
    rounds, now, counted = Rounds(every, 0.0), 0.0, 0.0
    for pause in pauses:
        now += pause
        counted += pause - rounds.lost(now)
    assert counted <= 2 * every * len(pauses) + 1e-6 * now
