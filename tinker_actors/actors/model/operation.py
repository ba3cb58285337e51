"""Pending operations of one model: what was sent, what came back, which numbers it took."""

from __future__ import annotations

import logging
from typing import Any

from tinker_actors.actors.lane.work import Work
from tinker_actors.actors.messages import Adopt, AdoptionFailed, ChunkAccepted, ChunkDone, ChunkFailed, Perform
from tinker_actors.actors.story import Story
from tinker_actors.errors import OutcomeUnknownError, PrecedingOperationFailed, TinkerError
from tinker_actors.protocol.consequences import may_be_done
from tinker_actors.protocol.replies.outcomes import Accepted, Done
from tinker_actors.protocol.replies.results import training_result
from tinker_actors.protocol.requests.operations import Operation, Tail
from tinker_actors.runtime.actor import Ref, tell
from tinker_actors.runtime.futures import APIFuture

_GONE = (404, 410)


class ActorSink:
    """Reports a work's story to the actor that owns it."""

    __slots__ = ("_ref",)

    def __init__(self, ref: Ref) -> None:
        self._ref = ref

    def accepted(self, work: Work, outcome: Accepted) -> None:
        """Tell `ChunkAccepted`."""
        tell(self._ref, ChunkAccepted(work.id, outcome))

    def read(self, work: Work, content_type: str, body: bytes) -> Any:
        """Read the result by what was asked for."""
        return training_result(work.tail.request_type, work.tail.expected, content_type, body)

    def done(self, work: Work, outcome: Done) -> None:
        """Tell `ChunkDone`."""
        tell(self._ref, ChunkDone(work.id, outcome))

    def failed(self, work: Work, error: TinkerError) -> None:
        """Tell `ChunkFailed`; a promise that the server forgot leaves its outcome unknown."""
        accepted = work.request_id is not None
        if accepted and error.status_code in _GONE:
            unknown = OutcomeUnknownError(
                f"The server accepted {work.tracker.what} and no longer knows what became of it: {error.message}",
                request_id=work.request_id,
                status_code=error.status_code,
                attempts=error.attempts,
            )
            unknown.__cause__ = error
            error = unknown
        tell(self._ref, ChunkFailed(work.id, error, accepted))

    def owed(self) -> None:
        """Return None: the actor looks after its operations."""

    def gone(self, work: Work, error: TinkerError) -> bool:  # noqa: ARG002 - the answer is always the same
        """Say no: a training operation is never submitted a second time under another number."""
        return False


def settle_error(operation: Perform | Pending, error: TinkerError) -> None:
    """Fail an operation's future, and tell the sampler that waits for its weights."""
    operation.future._settle(error=error)
    if operation.sampler is not None:
        tell(operation.sampler, AdoptionFailed(error.replica()))


class Pending:
    """One operation of a model, from the call to the settled future. Owned by the training actor.

    Attributes:
        operation: what to do.
        future: whose result it is.
        sampler: the sampling actor to be told, for weights that are saved for it.
        sampler_number: the number of the sampler that is made along, once it is known.
        first: the first of its numbers, once it is sent.
        place: its place in the order of calls.
        version: how many optimizer steps were called before it.
        tails: its requests, in the dialect in which they were or will be sent.
        stages: chunk indices still to be handed over; a stage begins when everything before it is accepted.
        handed: chunk index of each work under way or done.
        accepted: chunks that the server accepted.
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
        "future",
        "handed",
        "operation",
        "place",
        "results",
        "sampler",
        "sampler_number",
        "stages",
        "tails",
        "turned",
        "uncertain",
        "version",
    )

    def __init__(self, operation: Operation, future: APIFuture[Any], sampler: Ref | None = None) -> None:
        self.operation = operation
        self.future = future
        self.sampler = sampler
        self.sampler_number: int | None = None
        self.first = 0
        self.place = 0
        self.version = 0
        self.tails: list[Tail] = list(operation.tails)
        self.stages: list[list[int]] = []
        self.handed: dict[int, int] = {}
        self.accepted: set[int] = set()
        self.failed: set[int] = set()
        self.results: dict[int, Any] = {}
        self.doubts: dict[int, ChunkFailed] = {}
        self.turned: set[int] = set()
        self.filled: set[int] = set()
        self.anew = False
        self.error: TinkerError | None = None
        self.uncertain = False

    def plan(self, *, server_orders: bool) -> None:
        """Lay out the stages: in order where the server does not order, else the first chunk last.

        A server that orders by number sees all later chunks before the first and can run them together (wire
        protocol 6.2).
        """
        indices = list(range(len(self.operation.tails)))
        if not server_orders or len(indices) == 1:
            self.stages = [[index] for index in indices]
        else:
            self.stages = [indices[1:], indices[:1]]

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
    def concluded(self) -> bool:
        """Whether nothing more can come of it."""
        return not self.stages and len(self.handed) == len(self.results) + len(self.failed)

    @property
    def numbers(self) -> range:
        """The numbers of its requests."""
        return range(self.first, self.first + len(self.operation.tails))

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

    def doubt(self, message: ChunkFailed) -> None:
        """Note what the failure of a chunk says of what the server did."""
        self.uncertain = self.uncertain or may_be_done(message.error, accepted=message.accepted)

    def open_numbers(self) -> list[int]:
        """Return the numbers that the server did not accept, less those that a probe was sent under.

        Whether it holds their places all the same is the server's affair: some do, some wait for them. Something
        without effect has to be sent under each, so that what is behind them goes on either way.
        """
        return [self.first + i for i in range(len(self.operation.tails)) if i not in self.accepted | self.filled]

    def adopt(self, base_model: str | None) -> None:
        """Tell the sampler, if there is one, that its weights and its sampling session are there."""
        if self.sampler is None:
            return
        saved = self.values()[0]
        if saved.sampling_session_id is None:
            tell(self.sampler, AdoptionFailed(TinkerError("The server saved the weights without making a sampler.")))
        else:
            tell(self.sampler, Adopt(saved.sampling_session_id, base_model, self.version, self.place))

    def tell_story(self, story: Story, model_id: str | None) -> None:
        """Say in the log that something was saved under a name, or loaded."""
        if self.operation.restores and self.future._counted:  # and is no part of making a model
            story.says(logging.INFO, "Model %s has the weights of a checkpoint now", model_id)
        elif self.operation.name.startswith("save") and (path := self.values()[0].path) is not None:
            story.says(logging.INFO, "Saved %s", path)

    def values(self) -> tuple[Any, ...]:
        """Return the results in the order of the data."""
        return tuple(self.results[index] for index in sorted(self.results))
