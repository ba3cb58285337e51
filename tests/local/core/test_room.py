"""Room: how much of the server's memory an owner gets for what is kept."""

from __future__ import annotations

import pytest

from tinker_actors.local.core.limits import Limits
from tinker_actors.local.core.quota import is_room, require_notes
from tinker_actors.local.core.requests.messages import RefusedError


@pytest.mark.parametrize(
    ("weight", "mine", "held", "room"),
    [
        (1000, 0, 0, True),  # the only one there, whatever its size
        (25, 0, 50, True),
        (26, 0, 50, False),
        (20, 30, 30, True),
        (21, 30, 30, False),  # half of it for the first; the other half for who comes later
        (30, 0, 40, True),
        (0, 0, 100, True),
    ],
)
def test_an_owner_gets_as_much_as_is_still_free(weight, mine, held, room):
    assert is_room(weight, mine, held, 100) is room


@pytest.mark.parametrize(
    "said",
    [
        "x" * 101,
        {"a": "x" * 101},
        {str(number): 0 for number in range(11)},
        {"a": [[]] * 11},
        {"a": {"b": {"c": list(range(11))}}},
        {"a": [[[1, 2, 3], [1, 2, 3]], [1, 2, 3]]},
    ],
)
def test_what_a_user_says_is_kept_up_to_a_size(said):
    limits = Limits(note_bytes=100, note_values=10)
    with pytest.raises(RefusedError, match="too large") as caught:
        require_notes(limits, user_metadata=said, name=None)
    assert caught.value.status == 413


def test_what_is_small_is_kept():
    limits = Limits(note_bytes=100, note_values=10)
    require_notes(limits, user_metadata={"run": "one", "seeds": [1, 2, 3], "deep": {"a": None}}, name="x")
    require_notes(limits, user_metadata=None)
