"""Tainting: which failures an operation's caller knew of, and what becomes of it where he did not.

No operation is applied that was called in ignorance of a failure. A client of this package says in `X-Known-Failures`
what its caller knew. For others it is inferred from what they were answered by the time the operation came:

    the failed operation                     counts as known to
    ---------------------------------------  ---------------------------------------------------------------------
    never came                               everything: its client must know
    was refused with 4xx                     what comes with a higher number once everything before it is here
    failed, and its result was fetched       what comes afterwards
    failed, and its result was not fetched   nothing
    a gradient, for an optimizer step:       only if besides a gradient came and was done that knew of it, or if the
                                             step that it belonged to has been refused
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from tinker_actors.types.failures import known_failures_in


class Taint(msgspec.Struct, eq=False):
    """An operation that others build on and that failed.

    Attributes:
        kind: its name on the wire.
        seq_id: its number, if it had one.
        message: why it failed.
        gradient: whether it was to add to the gradient.
        absent: whether it never came, so that its client must know.
        closed: whether the step that it belonged to has been refused.
        followed: whether a gradient was done that knew of it.
        over: whether it does not matter any more.
    """

    kind: str
    seq_id: int | None
    message: str
    gradient: bool = True
    absent: bool = False
    closed: bool = False
    followed: bool = False
    over: bool = False

    def __str__(self) -> str:
        number = "" if self.seq_id is None else f" with seq_id {self.seq_id}"
        return f"{self.kind}{number} failed: {self.message}"


class Knowledge(msgspec.Struct, frozen=True, eq=False):
    """What the caller of an operation knew.

    Attributes:
        said: the numbers that its client named, or None if it said nothing.
        inferred: the failures that it counts as knowing otherwise.
    """

    said: tuple[range, ...] | None = None
    inferred: frozenset[Taint] = frozenset()

    def of(self, taint: Taint, *, step: bool = False) -> bool:
        """Return whether a failure was known, to a step or to another operation."""
        if self.said is not None:
            return taint.absent or (taint.seq_id is not None and any(taint.seq_id in run for run in self.said))
        if step and taint.gradient and not (taint.closed or taint.followed):
            return False
        return taint.absent or taint in self.inferred


def knowledge_of(header: str | None, told: Iterable[Taint], seq_id: int | None, next_number: int) -> Knowledge:
    """Return what the caller of an operation that just came knew.

    Args:
        header: `X-Known-Failures`, or None.
        told: the failures that the client was answered.
        seq_id: the operation's number, if it has one.
        next_number: the first number that has not come. What is refused while one before it is missing is a part of
            something larger that its client is still sending.

    Raises:
        ValueError: the header can't be read.
    """
    if header is not None:
        return Knowledge(said=known_failures_in(header))
    return Knowledge(inferred=frozenset(each for each in told if _was_before(each, seq_id, next_number)))


def _was_before(taint: Taint, seq_id: int | None, next_number: int) -> bool:
    if taint.seq_id is None:
        return True
    return taint.seq_id < next_number and (seq_id is None or taint.seq_id < seq_id)


NOTHING = Knowledge()
"""What is known to who said nothing and was answered nothing."""


class Taints:
    """The failures of one model that somebody may not know of yet."""

    def __init__(self) -> None:
        self._noted: list[Taint] = []
        self._told: dict[Taint, None] = {}

    @property
    def told(self) -> Iterable[Taint]:
        """What the client was answered, also before its turn came."""
        return self._told

    def tell(self, taint: Taint) -> None:
        """Note that the client was answered that this failed."""
        if not taint.over:
            self._told[taint] = None

    def note(self, taint: Taint, knows: Knowledge) -> None:
        """Add a failure whose turn has come; it stands for those before it that its caller knew of."""
        self.settle(knows)
        self._noted.append(taint)

    def settle(self, knows: Knowledge) -> None:
        """Forget what a caller knew of: whoever calls later knows it too."""
        self._drop([taint for taint in self._noted if knows.of(taint)])

    def follow(self, knows: Knowledge) -> None:
        """Note that a gradient was done whose caller knew what he knew."""
        for taint in self._noted:
            taint.followed = taint.followed or knows.of(taint)

    def close(self) -> None:
        """Note that a step was refused: whatever failed before it belongs to a step that is over."""
        for taint in self._noted:
            taint.closed = True

    def clear(self) -> None:
        """Forget everything whose turn has come."""
        self._drop(list(self._noted))

    def unknown_to(self, knows: Knowledge, *, step: bool) -> Taint | None:
        """Return a failure that a caller did not know of, or None."""
        return next((taint for taint in self._noted if not knows.of(taint, step=step)), None)

    def _drop(self, taints: list[Taint]) -> None:
        for taint in taints:
            taint.over = True
            self._told.pop(taint, None)
        self._noted = [taint for taint in self._noted if not taint.over]
