"""Tainting: which failures an operation's caller knew of, and what becomes of it where he did not.

No operation is applied that was called in ignorance of a failure. A client of this package says in `X-Known-Failures`
what its caller knew. For others it is inferred from what they were answered by the time the operation came:

    the failed operation                     counts as known to
    ---------------------------------------  ---------------------------------------------------------------------
    never came                               everything: its client must know
    was refused with 4xx                     what comes with a higher number once everything before it is here
    failed, and its result was fetched       what comes afterwards
    failed, and its result was not fetched   nothing
    a gradient, for an optimizer step:       only if the step has gradients of its own besides, earlier or later ones,
                                             or the step that the failed one belonged to has been refused

A step without any gradient but the failed one was called together with it, as far as one can see. The requests of one
call know what the first of them that came knew. Where one of them failed, what is there of the others is *stranded*: a
step that is called now is refused, and they are discarded before the next gradient is added that knows of the failure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from tinker_actors.types.failures import known_failures_in

_MOST_DATUMS = 1024
_LEAST_CUT = 1_000_000
"""Official clients begin a new request at 1,024 datums or 5,000,000 bytes; in JSON they count 10 bytes for each number,
which takes two or more (wire protocol 6.3)."""


class Arrival(msgspec.Struct, eq=False):
    """How the request of a gradient came: what tells whether it is one of several of the same call.

    Attributes:
        seq_id: its number, if it had one.
        json: whether it came in JSON. Versions that send JSON send the requests of a call in order; others send the
            first one last (wire protocol 6.2).
        size: bytes of its body.
        datums: how many examples it holds; 0 if that was not looked at.
        together: the first of the numbers whose turn came at the same moment, if there are several.
    """

    seq_id: int | None
    json: bool
    size: int
    datums: int = 0
    together: int | None = None

    def may_continue(self, earlier: Arrival) -> bool:
        """Return whether this one and an earlier one may be of one call."""
        if self.together is not None and self.together == earlier.together:
            return True
        if not (self.json and earlier.json) or self.seq_id is None or earlier.seq_id != self.seq_id - 1:
            return False
        return earlier.datums >= _MOST_DATUMS or earlier.size + self.size > _LEAST_CUT


class Taint(msgspec.Struct, eq=False):
    """An operation that others build on and that failed.

    Attributes:
        kind: its name on the wire.
        seq_id: its number, if it had one.
        message: why it failed.
        gradient: whether it was to add to the gradient.
        arrival: how it came, if it was to add to the gradient and came.
        absent: whether it never came, so that its client must know.
        closed: whether the step that it belonged to has been refused.
        over: whether it does not matter any more.
    """

    kind: str
    seq_id: int | None
    message: str
    gradient: bool = True
    arrival: Arrival | None = None
    absent: bool = False
    closed: bool = False
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

    def of(self, taint: Taint) -> bool:
        """Return whether a failure was known."""
        if self.said is not None:
            return taint.absent or (taint.seq_id is not None and any(taint.seq_id in run for run in self.said))
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


def in_common(all_of_them: Sequence[Knowledge]) -> Knowledge:
    """Return what the caller of several requests knew that are one call: what was known when the first one came."""
    first = all_of_them[0]
    if any(each.said is not None for each in all_of_them):
        return first  # he says the same in all of them
    return Knowledge(inferred=first.inferred.intersection(*[each.inferred for each in all_of_them]))


def _was_before(taint: Taint, seq_id: int | None, next_number: int) -> bool:
    if taint.seq_id is None:
        return True
    return taint.seq_id < next_number and (seq_id is None or taint.seq_id < seq_id)


NOTHING = Knowledge()
"""What is known to who said nothing and was answered nothing."""


class Taints:
    """The failures of one model that somebody may not know of yet.

    Attributes:
        stranded: whether gradients are there of a call that failed in part.
    """

    def __init__(self) -> None:
        self._noted: list[Taint] = []
        self._told: dict[Taint, None] = {}
        self._gathered: list[Arrival] = []  # the gradients that are there for the next step
        self.stranded = False

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
        arrival = taint.arrival
        if arrival is None:
            in_part = taint.absent and bool(self._gathered)  # nobody can say what it was
        else:
            in_part = any(arrival.may_continue(earlier) for earlier in self._gathered)
        self.stranded = self.stranded or in_part

    def settle(self, knows: Knowledge) -> None:
        """Forget what a caller knew of: whoever calls later knows it too."""
        self._drop([taint for taint in self._noted if knows.of(taint)])

    def gather(self, arrival: Arrival) -> None:
        """Note that a gradient is there for the next step."""
        self._gathered.append(arrival)

    def empty(self) -> None:
        """Note that no gradient is there any more."""
        self._gathered.clear()
        self.stranded = False

    def close(self) -> None:
        """Note that a step was refused: whatever failed before it belongs to a step that is over."""
        for taint in self._noted:
            taint.closed = True

    def clear(self) -> None:
        """Forget everything whose turn has come."""
        self._drop(list(self._noted))

    def unknown_to(self, knows: Knowledge, *, step: bool) -> Taint | None:
        """Return a failure that the caller of a step, or of something else, did not know of, or None."""
        guessing = step and knows.said is None and (self.stranded or not self._gathered)
        for taint in self._noted:
            if not knows.of(taint) or (guessing and (self.stranded or (taint.gradient and not taint.closed))):
                return taint
        return None

    def _drop(self, taints: list[Taint]) -> None:
        for taint in taints:
            taint.over = True
            self._told.pop(taint, None)
        self._noted = [taint for taint in self._noted if not taint.over]
