"""Models: one adapter in training, its operations in order, and what a failed gradient does to the step behind it.

Theory of operation. Operations enter through the sequencer and leave one at a time as jobs. A gradient operation that
fails taints the model: part of the next step's gradient is missing. The next `optim_step` is then refused unapplied,
what has accumulated is discarded, and the model is clean again. A refused request holds its number's place, so that
later ones do not wait for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from tinker_actors.local.core.futures import Future
from tinker_actors.local.core.jobs import Failure, RefusedStepError, Result, Success
from tinker_actors.local.core.numbers import Numbers
from tinker_actors.local.core.ordering import Sequencer
from tinker_actors.local.core.ports import TrainedModel
from tinker_actors.types.training import LoraConfig


class Operation(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One thing to do to a model.

    Attributes:
        kind: its name on the wire, e.g. `"forward_backward"`.
        seq_id: the client's number for it, or None.
        future: where its result goes; None for one that was refused and only holds its place.
        work: computes, on a worker thread; is given the engine's model.
        gradient: whether the next step lacks something if this fails.
        step: whether this is the step.
        clean_after: whether no gradient is left after a success.
        creates: whether without this there is no model.
        on_success: what the core does with the value of a success.
        refused: for one that was refused: why.
    """

    kind: str
    seq_id: int | None
    future: Future | None = None
    work: Callable[[TrainedModel], Success] | None = None
    gradient: bool = False
    step: bool = False
    clean_after: bool = False
    creates: bool = False
    on_success: Callable[[Any], None] | None = None
    refused: str | None = None


class Taint(msgspec.Struct, frozen=True):
    """A gradient operation that failed since the last step."""

    kind: str
    seq_id: int | None
    message: str

    def __str__(self) -> str:
        number = "" if self.seq_id is None else f" with seq_id {self.seq_id}"
        return f"{self.kind}{number} failed: {self.message}"


class Model:
    """A model: what it is, what waits for it, what state its gradients are in.

    Attributes:
        model_id: its id.
        session_id: the session it belongs to.
        base_model: what it is trained from; None until a checkpoint has said so.
        lora: how; likewise.
        trained: the engine's model, once it is created.
        creation_failure: why it could not be created.
        taint: the first gradient operation that failed since the last step.
        numbers: the `seq_id`s used.
        sequencer: the operations that wait.
        running: the operation being done.
        closed: whether the model has been unloaded.
        has_turn: kept by `Turns`.
        gap: the number that everything waits for and since when, kept by `gaps`.
    """

    def __init__(self, model_id: str, session_id: str, base_model: str | None, lora: LoraConfig | None) -> None:
        self.model_id = model_id
        self.session_id = session_id
        self.base_model = base_model
        self.lora = lora
        self.trained: TrainedModel | None = None
        self.creation_failure: Failure | None = None
        self.taint: Taint | None = None
        self.numbers = Numbers("seq_id")
        self.sequencer: Sequencer[Operation] = Sequencer()
        self.running: Operation | None = None
        self.closed = False
        self.has_turn = False
        self.gap: tuple[int, float] | None = None

    @property
    def idle(self) -> bool:
        """Whether an operation may be started."""
        return self.running is None and not self.closed

    def close(self) -> None:
        """Let go of everything; an operation being done runs to its end, and nobody looks at its result."""
        self.closed = True
        self.trained = None
        self.sequencer = Sequencer()

    def why_waiting(self, seq_id: int | None) -> str | None:
        """Return what an operation waits for, when it is one that has not arrived."""
        if not self.sequencer.is_early(seq_id):
            return None
        return (
            f"seq_id {seq_id} waits for seq_id {self.sequencer.next_number} of {self.model_id}, which is not here yet"
        )

    def begin(self, operation: Operation) -> Callable[[], Success] | Failure | None:
        """Start an operation: return the work to do, or how it failed without any, or None for a held place."""
        if operation.future is None:
            if operation.gradient:
                self._note_failure(operation, operation.refused or "refused")
            return None
        if self.creation_failure is not None:
            said = f"{operation.kind} was not done, because {self.model_id} could not be created: "
            return Failure(said + self.creation_failure.message, self.creation_failure.category)
        self.running = operation
        if operation.step and self.taint is not None:
            return self._refusal(operation, self.taint)
        return self._bound(operation)

    def end(self, operation: Operation, result: Result) -> None:
        """Take note of how an operation ended."""
        self.running = None
        if isinstance(result, Failure):
            if operation.creates:
                self.creation_failure = result
            if operation.gradient:
                self._note_failure(operation, result.message)
        elif operation.on_success is not None and not self.closed:
            operation.on_success(result.value)
        # Applied, refused or failed: no step leaves a gradient behind.
        if operation.step or (operation.clean_after and isinstance(result, Success)):
            self.taint = None

    def _note_failure(self, operation: Operation, message: str) -> None:
        if self.taint is None:
            self.taint = Taint(operation.kind, operation.seq_id, message)

    def _bound(self, operation: Operation) -> Callable[[], Success]:
        work, trained = operation.work, self.trained
        assert work is not None
        # A creating operation makes the model itself and ignores what it is given.
        return lambda: work(trained)  # type: ignore[arg-type]

    def _refusal(self, operation: Operation, taint: Taint) -> Callable[[], Success]:
        trained = self.trained
        number = "" if operation.seq_id is None else f" with seq_id {operation.seq_id}"
        message = (
            f"{operation.kind}{number} refused: {taint} "
            f"The step was not applied, and the gradients accumulated for it were discarded."
        )

        def refuse() -> Success:
            assert trained is not None
            trained.discard_gradients()
            raise RefusedStepError(Failure(message, "user", preceding_seq_id=taint.seq_id))

        return refuse
