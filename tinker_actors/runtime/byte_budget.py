"""The byte budget: how much memory the requests that are held here may take together.

Callers that produce faster than the server takes have to be slowed down before memory is gone. Those who may block wait
for room; those who may not (event loops, our own threads) leave a callback. Both stand in one line, so that nobody is
overtaken for ever. While there is room, a take costs one uncontended lock.

**An interrupt loses nothing.** A caller's thread may be left by a `KeyboardInterrupt` at any line, and a signal handler
that runs there may come here too, or wait for what a lane does. So what is held is written on who holds it, in the
statement that counts it, and doing that twice does nothing. Each of these statements is one line with its lock: a line
is left before or behind it, and since nothing is called in it, no handler runs there. Whoever is next in the line is
let in by a thread of the runtime.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Literal, Protocol

_HARD_CAP = 2
"""How many times the limit may be held and waited for by callbacks, because nobody slows their callers down."""


class Holder(Protocol):
    """What holds bytes.

    Attributes:
        size: how many it needs.
        held: how many it holds: all or 0. Written by the budget only.
    """

    size: int
    held: int


class Place:
    """A place in the line, and what it holds once it was let in.

    Args:
        size: the bytes it needs.
        admitted: called once when they are taken, or when the waiting is over without; on whatever thread lets it in.
            Must not block.
        owner: whose `dismiss` ends the waiting.

    Attributes:
        state: `"new"`, `"waiting"`, `"admitted"` (the bytes are held, or were) or `"gone"`.
        held: bytes it holds.
    """

    __slots__ = ("_admitted", "_claim", "_counted", "_owner", "held", "size", "state")

    def __init__(self, size: int, admitted: Callable[[], object], owner: object = None) -> None:
        self.size = size
        self.state: Literal["new", "waiting", "admitted", "gone"] = "new"
        self.held = 0
        self._counted = 0
        self._claim = [True]  # taken out, once, by who lets it in or by who leaves
        self._admitted = admitted
        self._owner = owner

    def claim(self) -> bool:
        """Return whether the caller is the one who decides about the place. Atomic."""
        try:
            return self._claim.pop()
        except IndexError:
            return False


class ByteBudget:
    """Bytes to be taken and given back, first come, first served. Thread-safe, also in signal handlers.

    A request larger than the whole limit is let in when nothing else is held.

    Args:
        limit: bytes that may be held at a time.
        wake: has `admit` called soon, on a thread of the runtime; called whenever somebody in the line may be next.

    Attributes:
        limit: as given.
        held: bytes held.
        holders: how many requests hold them.
        waiting: bytes that are waited for.
    """

    def __init__(self, limit: int, wake: Callable[[], object]) -> None:
        self.limit = limit
        self.held = 0
        self.holders = 0
        self.waiting = 0
        self._lock = threading.Lock()
        self._wake = wake
        self._line: deque[Place] = deque()
        self._admitting = threading.Lock()

    def try_take(self, holder: Holder) -> bool:
        """Take the bytes that `holder` needs if there is room and nobody waits; never waits itself."""
        size = holder.size
        self._hold(holder, size)
        if self.waiting or (self.held > self.limit and self.held > size):
            self._hold(holder, 0)
            return False
        return True

    def release(self, holder: Holder) -> None:
        """Give back what `holder` holds, if anything."""
        with self._lock: self.held, self.holders, holder.held = self.held - holder.held, self.holders - (holder.held > 0), 0  # noqa: E501, E701  # fmt: skip
        if self._line:
            self._wake()

    def _hold(self, who: Holder, size: int) -> None:
        """Have `who` hold so many bytes from now on."""
        with self._lock: self.held, self.holders, who.held = self.held + size - who.held, self.holders + (size > 0) - (who.held > 0), size  # noqa: E501, E701  # fmt: skip

    def _count(self, place: Place, size: int) -> None:
        """Have `place` wait for so many bytes from now on."""
        with self._lock: self.waiting, place._counted = self.waiting + size - place._counted, size  # noqa: E701  # fmt: skip

    # ------------------------------------------------------------ the line

    def stand(self, place: Place, *, capped: bool = False) -> bool:
        """Stand in the line without waiting.

        Args:
            place: a new one.
            capped: refuse when what is held and waited for would exceed twice the limit.

        Returns:
            Whether it stands there; False where it was refused.
        """
        over = self.held + self.waiting + place.size > _HARD_CAP * self.limit
        if capped and over and (self.waiting or self.held):
            return False
        self._count(place, place.size)
        place.state = "waiting"
        self._line.append(place)
        self._wake()
        return True

    def take(self, place: Place, gate: threading.Lock, timeout: float) -> bool:
        """Stand in the line and wait.

        Args:
            place: a new one, which opens `gate` when it is admitted.
            gate: a closed lock.
            timeout: seconds to wait at most.

        Returns:
            Whether the bytes were taken; False after the timeout or a dismissal.
        """
        try:
            self.stand(place)
            gate.acquire(timeout=min(timeout, threading.TIMEOUT_MAX))
            self._withdraw(place)
        except BaseException:  # an interrupt: nobody is going to use the bytes
            self.leave(place)
            raise
        return place.state == "admitted"

    def leave(self, place: Place) -> None:
        """Leave the line, or give back what was taken meanwhile. Does nothing the second time."""
        self._withdraw(place)
        self.release(place)

    def _withdraw(self, place: Place) -> bool:
        """Leave the line; return whether that was still to be decided."""
        claimed = place.claim()
        if claimed:
            place.state = "gone"
            self._count(place, 0)
        if self._line:
            self._wake()
        return claimed

    def dismiss(self, owner: object) -> None:
        """End the waiting of an owner's blocked callers: their `take` returns False."""
        for place in list(self._line):
            if place._owner is owner and self._withdraw(place):
                place._admitted()

    def admit(self) -> None:
        """Let in who is first and fits, as often as that goes. Only on threads of the runtime."""
        while True:
            with self._admitting:
                place = self._next()
            if place is None:
                return
            if place.state == "admitted":
                place._admitted()

    def _next(self) -> Place | None:
        """Take the first place out of the line if it may go: admitted just now, or gone before. Else return None."""
        if not self._line:
            return None
        place = self._line[0]
        if place.state == "waiting" and self.held and self.held + place.size > self.limit:
            return None
        if place.claim():
            self._hold(place, place.size)
            place.state = "admitted"
        elif place.state == "waiting":
            place.state = "gone"  # whoever left was interrupted
        self._count(place, 0)
        self._line.popleft()
        return place
