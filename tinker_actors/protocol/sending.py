"""Sending: how the requests of one operation fare, and what that says of the operation.

An operation is cut into chunks, each of which is a request under a number of its own. They are handed over in stages: a
stage begins when everything before it was accepted. The operation has failed with the first of them that fails, and is
concluded when each has an end.

    a chunk was        counts as
    -----------------  -----------------------------------------------------------------------------------
    handed over        being submitted
    accepted           at the server
    answered           its result is here
    failed             over; whether something of it is at the server, says `uncertain`
    refused, doubtful  neither: it may be the dialect, and a probe tells (`protocol/requests/dialect.py`)
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import Any, Generic, Literal, TypeVar

from tinker_actors.errors import PrecedingOperationFailed, TinkerError
from tinker_actors.protocol.consequences import may_be_done
from tinker_actors.protocol.requests.operations import Operation, Tail

Ended = Literal["applied", "refused", "failed", "unknown"]

D = TypeVar("D")
P = TypeVar("P", bound="Sending[Any]")


class Sending(Generic[D]):
    """What is known of the requests of one operation. Plain state for the one actor that owns it.

    Attributes:
        operation: what to do.
        place: its place in the order of calls.
        first: the first of its numbers, once it is sent.
        tails: its requests, in the dialect in which they were or will be sent.
        stages: chunk indices still to be handed over.
        handed: chunk index of each request under way or done, by what its owner calls it.
        accepted: chunks that the server accepted.
        failed: chunks of which nothing more comes but what is known.
        results: results by chunk.
        doubts: refusals that may be about the dialect and not about the data, by chunk.
        turned: chunks that were sent in the other dialect already.
        filled: chunks whose numbers a probe took, or tried to take in every dialect.
        anew: whether it is to be sent once more, under numbers that it does not have yet.
        error: the first failure.
        uncertain: whether the server may have done something of what failed.
    """

    __slots__ = (
        "accepted",
        "anew",
        "doubts",
        "error",
        "failed",
        "filled",
        "first",
        "handed",
        "operation",
        "place",
        "results",
        "stages",
        "tails",
        "turned",
        "uncertain",
    )

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.place = 0
        self.first = 0
        self.tails: list[Tail] = list(operation.tails)
        self.stages: list[list[int]] = []
        self.handed: dict[int, int] = {}
        self.accepted: set[int] = set()
        self.failed: set[int] = set()
        self.results: dict[int, Any] = {}
        self.doubts: dict[int, D] = {}
        self.turned: set[int] = set()
        self.filled: set[int] = set()
        self.anew = False
        self.error: TinkerError | None = None
        self.uncertain = False

    # ------------------------------------------------------------ on the way out

    def plan(self, first: int, *, server_orders: bool) -> int:
        """Take numbers from `first` on and lay out the stages; return the next number.

        Chunks go in order where the server does not order, else the first one last: a server that orders by number sees
        all later chunks before the first and can run them together (wire protocol 6.2).
        """
        self.first = first
        indices = list(range(len(self.operation.tails)))
        if not server_orders or len(indices) == 1:
            self.stages = [[index] for index in indices]
        else:
            self.stages = [indices[1:], indices[:1]]
        return first + len(self.tails)

    def start_over(self, tails: list[Tail]) -> None:
        """Become what was never sent, with these requests."""
        self.tails, self.stages, self.anew = tails, [], True
        self.handed, self.results, self.doubts = {}, {}, {}
        self.accepted, self.failed, self.turned, self.filled = set(), set(), set(), set()

    @property
    def submitting(self) -> bool:
        """Whether some chunk was handed over and is neither accepted nor refused."""
        return len(self.handed) > len(self.accepted | self.failed | self.doubts.keys())

    @property
    def next_on_the_way(self) -> Literal["resolve", "stage", "failed", "accepted"]:
        """What to do when nothing of it is being submitted: find out the dialect, go on, or let the next operation."""
        if self.doubts:
            return "resolve"
        if self.error is not None:
            return "failed"
        return "stage" if self.stages else "accepted"

    @property
    def numbers(self) -> range:
        """The numbers of its requests."""
        return range(self.first, self.first + len(self.operation.tails))

    def open_numbers(self) -> list[int]:
        """Return the numbers that the server did not accept, less those that a probe was sent under.

        Whether it holds their places all the same is the server's affair: some do, some wait for them. Something
        without effect has to be sent under each, so that what is behind them goes on either way.
        """
        return [self.first + i for i in range(len(self.operation.tails)) if i not in self.accepted | self.filled]

    def behind(self, number: int, under_way: Container[int]) -> list[int]:
        """Return which of its requests that are under way the server holds, or would hold, behind an open number."""
        return [each for each, index in self.handed.items() if each in under_way and self.first + index > number]

    # ------------------------------------------------------------ failures

    def fails(self, error: TinkerError) -> bool:
        """Note a failure of a chunk, and return whether it is the operation's and to be made known now.

        The first is. What the server refused because of something before it is known when that has ended, and where
        that is another part of this operation, that one is the reason.
        """
        if self.error is not None and not self.refused_within:
            return False
        self.error = error
        return not self.refused_behind

    def doubt(self, error: TinkerError, *, accepted: bool) -> None:
        """Note what the failure of a chunk says of what the server did."""
        self.uncertain = self.uncertain or may_be_done(error, accepted=accepted)

    @property
    def refused_behind(self) -> bool:
        """Whether the server said that it refused this because of an operation before it."""
        return isinstance(self.error, PrecedingOperationFailed) and self.error.preceding_seq_id is not None

    @property
    def refused_within(self) -> bool:
        """Whether that operation is another part of this one."""
        error = self.error
        return (
            isinstance(error, PrecedingOperationFailed)
            and error.preceding_seq_id is not None
            and error.preceding_seq_id in self.numbers
        )

    # ------------------------------------------------------------ the end

    @property
    def concluded(self) -> bool:
        """Whether nothing more can come of it."""
        return not self.stages and len(self.handed) == len(self.results) + len(self.failed)

    @property
    def ended(self) -> Ended:
        """How it ended, once nothing more can come of it."""
        if self.error is None:
            return "applied"
        if self.refused_behind:
            return "refused"
        return "unknown" if self.uncertain else "failed"

    @property
    def stayed(self) -> bool:
        """Whether something of it may be on the server although it failed."""
        return not self.refused_behind and (self.uncertain or bool(self.results))

    def values(self) -> tuple[Any, ...]:
        """Return the results in the order of the data."""
        return tuple(self.results[index] for index in sorted(self.results))


def has_its_turn(
    *, ignorant: bool, sending: bool, held: bool, model: bool, sampler_number: bool, gap: Callable[[], bool]
) -> bool:
    """Return whether it is decided now what becomes of the operation that was called first of those that wait.

    Args:
        ignorant: it was called before its caller was told of a fault before it: it fails, whatever else is under way.
        sending: another is on its way out, and may yet be refused.
        held: its session is lost and may be well again.
        model: the model is there.
        sampler_number: it has a number for the sampler that is to be made along, or needs none.
        gap: returns whether the server waits for a number before it. Asked only if nothing else is in the way: it has
            what was refused tried again.
    """
    return ignorant or (model and sampler_number and not sending and not held and not gap())


def ended_in_order(sent: Iterable[P], sending: P | None) -> list[P]:
    """Return what is concluded and can be told.

    What may have to say that something before it failed, a step or what the server refused, is told when everything
    before it that others build on has ended.

    Args:
        sent: what was sent and has not been told, in the order of calls.
        sending: of these, the one that is on its way out.
    """
    undecided, found = False, []
    for each in sent:
        operation = each.operation
        waits = undecided and (operation.step or each.refused_behind)
        if waits or not each.concluded or each is sending:
            undecided = undecided or operation.gradient or operation.restores or operation.step
        else:
            found.append(each)
    return found
