"""Number gaps: numbers that the server took nothing under, and what is to be sent in their place.

A gap would stop everything behind it on a server that does not count refused requests. So something without effect is
offered under each open number, in one dialect and then in the other, and nothing goes behind it before that is taken.

    the server, to an offer           what follows
    --------------------------------  ---------------------------------------------------------------------
    takes it                          the number is open no more
    answers 409                       the same: it counts the request that it refused
    refuses it, a dialect is left     it is offered in that
    refuses it in every dialect       the number stays open: when no other offer is out, what was called before
                                      this was tried fails, and whatever is called later has it tried again

An offer that is to find out the dialect is a *probe*: it says, besides, in which dialect it was taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from tinker_actors.errors import TinkerError
from tinker_actors.protocol.requests.dialect import Dialect

_CONFLICT = 409  # the number is taken, by a request that the server refused and yet counts


class Offer(msgspec.Struct, eq=False):
    """To be sent, something without effect under a number; it is out until the server says whether it takes it.

    Attributes:
        number: the `seq_id`.
        token: a token id that the model is known to have.
        dialect: what it is in.
        left: what to try when it is refused.
        since: the place of the newest call when it was first tried.
        probe: whether it is to find out the dialect.
    """

    number: int
    token: int
    dialect: Dialect
    left: list[Dialect]
    since: int
    probe: bool = False


class Probed(msgspec.Struct, frozen=True):
    """A probe has its answer.

    Attributes:
        number: under which it was.
        dialect: what it was taken in; None if in neither.
    """

    number: int
    dialect: Dialect | None


class Unfilled(msgspec.Struct, frozen=True, eq=False):
    """An open number can't be filled: what was called up to `since` is to fail.

    Attributes:
        number: the first that is open.
        refusal: what the server said to the last thing that was offered.
        since: the place of the newest call when it was first tried.
    """

    number: int
    refusal: TinkerError
    since: int


class GoOn(msgspec.Struct, frozen=True):
    """Nothing is out any more: what waited may go."""


Action = Offer | Probed | Unfilled | GoOn


class Gaps:
    """The open numbers of one model. Plain state for the one actor that owns it, which does what it returns."""

    def __init__(self) -> None:
        self._open: dict[int, int] = {}  # numbers that the server waits for, and the token to fill them with
        self._out: list[Offer] = []
        # A refusal since the last attempt to fill all of them, and the newest call when what it refused was tried.
        self._unfilled: tuple[TinkerError, int] | None = None

    @property
    def open(self) -> bool:
        """Whether nothing may be sent, because the server waits for a number."""
        return bool(self._open)

    def fill(self, numbers: Iterable[int], token: int, dialects: Sequence[Dialect], calls: int) -> list[Action]:
        """Note that a failed submission left numbers open.

        Args:
            numbers: those.
            token: a token id that the model is known to have.
            dialects: what to offer something in, the likelier one first.
            calls: the place of the newest call.
        """
        self._open.update(dict.fromkeys(numbers, token))
        if self._unfilled is not None:
            return self._conclude()  # the probes have shown that nothing is taken
        return [*self._offers(dialects, calls)]

    def try_again(self, dialects: Sequence[Dialect], calls: int) -> list[Action]:
        """Return what to offer under numbers that stayed open, if nothing is out."""
        return [] if self._out else [*self._offers(dialects, calls)]

    def probe(self, number: int, token: int, dialects: Sequence[Dialect], calls: int, *, waits: bool) -> Offer:
        """Return what to offer under the number of a refused request to find out the dialect.

        Args:
            number: that.
            token: a token id that the model is known to have.
            dialects: first that of the request, then the other.
            calls: the place of the newest call.
            waits: whether the server may wait for the number.
        """
        if waits:
            self._open[number] = token
        return self._offer(number, token, dialects, calls, probe=True)

    def answered(self, offer: Offer, *, taken: bool, refusal: TinkerError | None = None) -> list[Action]:
        """Return what follows from the server's answer to an offer.

        Args:
            offer: which; it is out no more.
            taken: whether the server accepted it.
            refusal: how it failed, if it did.
        """
        if refusal is not None and refusal.status_code is not None and offer.left:
            offer.dialect, *offer.left = offer.left
            return [offer]
        self._out.remove(offer)
        if refusal is not None and refusal.status_code != _CONFLICT:
            self._unfilled = refusal, offer.since
        else:
            self._open.pop(offer.number, None)
        return [Probed(offer.number, offer.dialect if taken else None)] if offer.probe else self._conclude()

    def _offers(self, dialects: Sequence[Dialect], calls: int) -> list[Offer]:
        out = {offer.number for offer in self._out}
        numbers = [number for number in self._open if number not in out]
        return [self._offer(number, self._open[number], dialects, calls) for number in numbers]

    def _offer(self, number: int, token: int, dialects: Sequence[Dialect], calls: int, *, probe: bool = False) -> Offer:
        first, *left = dialects
        offer = Offer(number, token, first, left, calls, probe)
        self._out.append(offer)
        return offer

    def _conclude(self) -> list[Action]:
        if self._out:
            return []
        unfilled, self._unfilled = self._unfilled, None
        if self._open and unfilled is not None:
            return [Unfilled(min(self._open), *unfilled)]
        return [GoOn()]
