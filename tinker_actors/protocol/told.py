"""What the caller of each operation of a model had been told of failures before it.

Operations are named by their place, the count of calls; failures by their cause. What is over, for nobody can be
ignorant of it any more, is forgotten.
"""

from __future__ import annotations

from collections import deque

import msgspec

from tinker_actors.errors import TinkerError

_REMEMBERED = 64
"""Failures that are remembered by number, for servers that name one. They name the last ones."""


class Fault(msgspec.Struct, eq=False):
    """A failure that others build on, until nobody can be ignorant of it any more.

    Attributes:
        place: of the operation that failed.
        cause: which failure it is; several operations can fail of one.
        error: what to name as the reason.
        numbers: the `seq_id`s of the operation; empty for one that was not sent.
        told_at: the place of the last operation called before its caller was told, or None while he is not.
        announced: the server accepted an operation that said that this was known.
    """

    place: int
    cause: int
    error: TinkerError
    numbers: range
    told_at: int | None = None
    announced: bool = False

    def known_to(self, place: int) -> bool:
        """Return whether the operation at `place` was called after this was told."""
        return self.told_at is not None and self.told_at < place


class _Acknowledgement(msgspec.Struct, eq=False):
    """That the user goes on whatever becomes of what he called before, until nothing can come of that any more.

    Attributes:
        place: of the last operation called before it.
        first: the number of the first operation behind it that was sent; 0 while none was.
    """

    place: int
    first: int = 0


class Told:
    """The faults of one model, and who knows of them. Plain state for the one actor that owns it.

    Attributes:
        faults: those that somebody may be ignorant of, or that have to be announced.
    """

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self._acknowledged: list[_Acknowledgement] = []
        self._by_number: deque[tuple[range, TinkerError]] = deque(maxlen=_REMEMBERED)

    def __bool__(self) -> bool:
        """Return whether anything is remembered that may become known."""
        return bool(self.faults or self._acknowledged)

    def ignorant_of(self, place: int, number: int | None = None) -> Fault | None:
        """Return a fault that the caller of the operation at `place` had not been told of, or None.

        Args:
            place: of the operation.
            number: of the failed operation that is asked for; of several, the first is returned where none has it.
        """
        unknown = [fault for fault in self.faults if fault.place < place and not fault.known_to(place)]
        return next((fault for fault in unknown if number in fault.numbers), unknown[0] if unknown else None)

    def failed(self, fault: Fault) -> None:
        """Note a fault. Who has acknowledged what he called until then knows of it."""
        fault.told_at = self.told_at(fault.place)
        self.faults.append(fault)

    def remember(self, numbers: range, error: TinkerError) -> None:
        """Note how the operation with these numbers failed, whether others build on it or not."""
        if numbers:
            self._by_number.append((numbers, error))

    def named(self, number: int | None) -> TinkerError | None:
        """Return how the operation with this number failed, if it did lately."""
        return next((error for numbers, error in reversed(self._by_number) if number in numbers), None)

    def tell(self, cause: int, at: int) -> None:
        """Note that the user was told of a failure when `at` was the newest call."""
        for fault in self.faults:
            if fault.cause == cause and fault.told_at is None:
                fault.told_at = at

    def acknowledge(self, at: int) -> None:
        """Note that the user goes on whatever becomes of the calls up to `at`."""
        self._acknowledged.append(_Acknowledgement(at))

    def told_at(self, place: int) -> int | None:
        """Return the place of the last call before the user said that he goes on whatever becomes of this one."""
        return next((each.place for each in self._acknowledged if each.place >= place), None)

    def acknowledged_before(self, place: int) -> int:
        """Return the place of the last call whose end the caller of the operation at `place` does not mind; or 0."""
        return max((each.place for each in self._acknowledged if each.place < place), default=0)

    def known(self, place: int, first: int) -> tuple[range, ...]:
        """Return the numbers of the failures that the caller of the operation at `place` knew of.

        Args:
            place: of the operation.
            first: the first number that it was sent with. Numbers are taken in the order of calls.
        """
        covered = 0
        for each in self._acknowledged:
            if each.place < place:
                covered = each.first = each.first or first
        known = [fault.numbers for fault in self.faults if fault.known_to(place) and fault.numbers]
        return (*([range(1, covered)] if covered > 1 else []), *known)

    def announced(self, place: int) -> None:
        """Note that the server has heard what the caller of the operation at `place` knew."""
        for fault in self.faults:
            fault.announced = fault.announced or fault.known_to(place)

    def restored(self, place: int) -> None:
        """Note that a restore succeeded: what failed before it does not matter any more."""
        self.faults = [fault for fault in self.faults if fault.place > place]

    def forget(self, oldest: int, *, announces: bool) -> None:
        """Drop what no operation can be ignorant of any more.

        Args:
            oldest: the place of the first operation of which something may come.
            announces: whether the server is to hear of faults.
        """
        if self.faults:
            self.faults = [fault for fault in self.faults if not _is_over(fault, oldest, announces=announces)]
        if self._acknowledged:
            self._acknowledged = [each for each in self._acknowledged if each.place >= oldest]


def _is_over(fault: Fault, oldest: int, *, announces: bool) -> bool:
    return fault.known_to(oldest) and (fault.announced or not announces or not fault.numbers)
