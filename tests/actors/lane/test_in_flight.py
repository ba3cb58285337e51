"""Rooms: how many are let in, who is let in next, and that every place is given back."""

from __future__ import annotations

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from tinker_actors.actors.lane.in_flight import Rooms, empty, recount
from tinker_actors.actors.lane.options import Room, Terms
from tinker_actors.runtime.progress import Tracker


def work(room):
    return SimpleNamespace(terms=Terms(room=room), roomed=False, state="queued", tracker=Tracker("sample", 0.0))


def test_who_finds_the_room_full_waits_outside_and_says_so():
    rooms, room = Rooms(), Room(1)
    first, second = work(room), work(room)
    assert rooms.enter(first, 1.0)
    assert rooms.enter(first, 2.0), "who is inside is"
    assert not rooms.enter(second, 3.0)
    assert (room.taken, second.state, second.roomed) == (1, "outside", False)
    assert "waiting for room" in second.tracker.history(4.0)


def test_who_leaves_lets_the_next_one_in_and_nobody_who_has_ended_meanwhile():
    rooms, room = Rooms(), Room(1)
    inside, ended, waiting = work(room), work(room), work(room)
    assert [rooms.enter(one, 0.0) for one in (inside, ended, waiting)] == [True, False, False]
    assert rooms.next_in() is None
    ended.state = "over"
    rooms.leave(inside)
    assert rooms.next_in() is waiting
    assert rooms.next_in() is None
    assert rooms.enter(waiting, 1.0)


def test_of_a_lane_that_ended_the_places_are_counted_anew():
    room = Room(2)
    works = [work(room) for _ in range(3)]
    works[0].roomed = works[1].roomed = True
    room.taken = 7
    room.waiting.append(works[2])
    recount([*works, work(None)])
    assert (room.taken, len(room.waiting)) == (2, 0)


def test_where_there_is_no_lane_the_room_is_emptied():
    rooms, room = Rooms(), Room(1)
    one = work(room)
    rooms.enter(one, 0.0)
    empty(one)
    empty(work(None))
    assert (room.taken, one.roomed) == (0, False)


@given(st.integers(1, 3), st.lists(st.booleans(), max_size=40))
def test_no_more_than_the_limit_are_inside_and_they_come_in_in_order(limit, events):
    """True: one more comes; False: the one that is longest inside leaves."""
    rooms, room, inside, came, entered = Rooms(), Room(limit), [], [], []

    def enter(one):
        if rooms.enter(one, 0.0):
            inside.append(one)
            entered.append(one)

    for comes in events:
        if comes:
            came.append(work(room))
            enter(came[-1])
        elif inside:
            rooms.leave(inside.pop(0))
            while (one := rooms.next_in()) is not None:
                enter(one)
        assert room.taken == len(inside) <= limit
        assert len(inside) == limit or len(entered) == len(came)
    assert list(map(id, entered)) == list(map(id, came[: len(entered)]))
