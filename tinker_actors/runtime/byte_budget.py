"""The byte budget: how much memory the requests that are held here may take together.

Callers that produce faster than the server takes have to be slowed down before memory is gone. Those who may block wait
for room; those who may not (event loops, our own threads) leave a callback. Both stand in one line, so that nobody is
overtaken for ever. While there is room, a take costs one uncontended lock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

_HARD_CAP = 2
"""How many times the limit may be held and waited for by callbacks, because nobody slows their callers down."""


class Place:
    """A place in the line.

    Attributes:
        size: the bytes it waits for.
        state: `"waiting"`, `"admitted"` (the bytes are held) or `"gone"`.
    """

    __slots__ = ("_admitted", "_owner", "size", "state")

    def __init__(self, size: int, admitted: Callable[[], object], owner: object) -> None:
        self.size = size
        self.state = "waiting"
        self._admitted: Callable[[], object] | None = admitted
        self._owner = owner


class ByteBudget:
    """Bytes to be taken and given back, first come, first served. Thread-safe.

    A request larger than the whole limit is let in when nothing else is held.

    Args:
        limit: bytes that may be held at a time.

    Attributes:
        limit: as given.
        held: bytes held.
        holders: how many requests hold them.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self.holders = 0
        self._lock = threading.Lock()
        self._line: deque[Place] = deque()
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """Bytes that are waited for."""
        return self._waiting

    def try_take(self, size: int) -> bool:
        """Take `size` bytes if there is room and nobody waits; never waits itself."""
        with self._lock:
            held = self.held
            if self._line or (held and held + size > self.limit):
                return False
            self.held = held + size
            self.holders += 1
            return True

    def take(self, size: int, timeout: float, owner: object = None) -> bool:
        """Take `size` bytes, waiting for them.

        Args:
            size: how many.
            timeout: seconds to wait at most.
            owner: whose `dismiss` ends the waiting.

        Returns:
            Whether they were taken; False after the timeout or a dismissal.
        """
        moved = threading.Event()
        place = Place(size, moved.set, owner)
        self._stand(place)
        try:
            moved.wait(min(timeout, threading.TIMEOUT_MAX))
        except BaseException:  # an interrupt: nobody is going to use the bytes
            self.leave(place)
            raise
        self.withdraw(place)
        return place.state == "admitted"

    def when_free(self, size: int, admitted: Callable[[], object]) -> Place | None:
        """Stand in the line without waiting.

        Args:
            size: how many bytes.
            admitted: called once when they are taken, maybe before this returns, on whatever thread made room; must
                not block.

        Returns:
            The place, for `leave`; None when what is held and waited for would exceed twice the limit.
        """
        return self._stand(Place(size, admitted, None), capped=True)

    def leave(self, place: Place) -> None:
        """Leave the line, or give back what was taken meanwhile. Once for each place."""
        if not self.withdraw(place) and place.state == "admitted":
            self.release(place.size)

    def withdraw(self, place: Place) -> bool:
        """Leave the line; return whether the place was still waiting in it."""
        with self._lock:
            if place.state != "waiting":
                return False
            place.state = "gone"
            place._admitted = None
            self._waiting -= place.size
            called = self._admit()
        _call(called)
        return True

    def release(self, size: int) -> None:
        """Give `size` bytes back, once for each take, and let in who waits for them."""
        with self._lock:
            self.held -= size
            self.holders -= 1
            if not self._line:
                return
            called = self._admit()
        _call(called)

    def dismiss(self, owner: object) -> None:
        """End the waiting of an owner's blocked callers: their `take` returns False."""
        with self._lock:
            leaving = [place for place in self._line if place._owner is owner and place.state == "waiting"]
            called = []
            for place in leaving:
                place.state = "gone"
                self._waiting -= place.size
                if place._admitted is not None:
                    called.append(place._admitted)
            called += self._admit()
        _call(called)

    def _fits(self, size: int) -> bool:
        return self.held + size <= self.limit or self.held == 0

    def _stand(self, place: Place, *, capped: bool = False) -> Place | None:
        with self._lock:
            over = self.held + self._waiting + place.size > _HARD_CAP * self.limit
            if capped and over and (self._line or not self._fits(place.size)):
                return None
            self._line.append(place)
            self._waiting += place.size
            called = self._admit()
        _call(called)
        return place

    def _admit(self) -> list[Callable[[], object]]:
        """Let in who is first and fits; return what has to be called without the lock."""
        line, called = self._line, []
        while line:
            place = line[0]
            if place.state == "waiting":
                if not self._fits(place.size):
                    break
                place.state = "admitted"
                self._waiting -= place.size
                self.held += place.size
                self.holders += 1
                if place._admitted is not None:
                    called.append(place._admitted)
                    place._admitted = None
            line.popleft()
        return called


def _call(callbacks: list[Callable[[], object]]) -> None:
    for callback in callbacks:
        callback()
