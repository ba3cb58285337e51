"""Pending operations of one model: whose they are, and who is told of their ends."""

from __future__ import annotations

import logging
from typing import Any

from tinker_actors.actors.lane.work import Work
from tinker_actors.actors.messages import Adopt, AdoptionFailed, ChunkAccepted, ChunkDone, ChunkFailed, Perform
from tinker_actors.actors.story import Story
from tinker_actors.errors import OutcomeUnknownError, TinkerError
from tinker_actors.protocol.replies.outcomes import Accepted, Done
from tinker_actors.protocol.replies.results import training_result
from tinker_actors.protocol.requests.operations import Operation
from tinker_actors.protocol.sending import Sending
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


class Pending(Sending[ChunkFailed]):
    """One operation of a model, from the call to the settled future. Owned by the training actor.

    Attributes:
        future: whose result it is.
        sampler: the sampling actor to be told, for weights that are saved for it.
        sampler_number: the number of the sampler that is made along, once it is known.
        version: how many optimizer steps were called before it.
    """

    __slots__ = ("future", "sampler", "sampler_number", "version")

    def __init__(self, operation: Operation, future: APIFuture[Any], sampler: Ref | None = None) -> None:
        super().__init__(operation)
        self.future = future
        self.sampler = sampler
        self.sampler_number: int | None = None
        self.version = 0

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
