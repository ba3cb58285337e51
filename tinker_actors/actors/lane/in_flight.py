"""Rooms: how many samples of a view are under way at a time.

A work enters its room when the lane takes it and leaves it when it ends, whatever the end. Used on the lane's thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from tinker_actors.actors.lane.options import Room
from tinker_actors.actors.lane.work import Work


class Rooms:
    """Lets works into their rooms.

    Attributes:
        left: rooms in which a place was left that somebody waits for.
    """

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left: deque[Room] = deque()

    def enter(self, work: Work, now: float) -> bool:
        """Let a work in; return False when it has to wait for room."""
        room = work.terms.room
        assert room is not None
        if work.roomed:
            return True
        if room.taken < room.limit:
            room.taken += 1
            work.roomed = True
            return True
        work.state = "outside"
        work.tracker.enter("waiting for room", now)
        room.waiting.append(work)
        return False

    def leave(self, work: Work) -> None:
        """Take back a work's place."""
        room = work.terms.room
        assert room is not None
        work.roomed = False
        room.taken -= 1
        if room.waiting:
            self.left.append(room)

    def next_in(self) -> Work | None:
        """Return a work for whose room there is a place now, or None. It enters when it is taken."""
        while self.left:
            room = self.left[0]
            while room.waiting and room.taken < room.limit:
                work: Work = room.waiting.popleft()
                if work.state == "outside":
                    return work
            self.left.popleft()
        return None


def recount(works: Iterable[Work]) -> None:
    """Count the places in the rooms of these works anew: of a lane that ended nobody knows what it had counted.

    Args:
        works: all that are under way.
    """
    taken: dict[Room, int] = {}
    for work in works:
        room = work.terms.room
        if room is not None:
            taken[room] = taken.get(room, 0) + work.roomed
    for room, count in taken.items():
        room.taken = count
        room.waiting = deque()


def empty(work: Work) -> None:
    """Empty the room of a work that ends because there is no lane that could count."""
    room = work.terms.room
    if room is not None:
        work.roomed = False
        room.taken = 0
        room.waiting = deque()
