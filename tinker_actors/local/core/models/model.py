"""Models: one adapter in training, its operations in order, and what a failure does to those behind it.

Theory of operation. Operations enter through the sequencer and leave one at a time as jobs. A gradient, step or load
that fails taints the model: what was called in ignorance of it is refused (`tainting` says what that means), and a
step that is refused has what was accumulated for it discarded. A refused request holds its number's place, so that
later ones do not wait for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from tinker_actors.local.core.futures import Future
from tinker_actors.local.core.jobs import Failure, RefusedStepError, Result, Success
from tinker_actors.local.core.models.ordering import Sequencer
from tinker_actors.local.core.models.tainting import NOTHING, Arrival, Knowledge, Taint, Taints, in_common
from tinker_actors.local.core.ports import TrainedModel
from tinker_actors.local.core.requests.numbers import Numbers
from tinker_actors.types.training import LoraConfig
from tinker_actors.wording import sentence


class Operation(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One thing to do to a model.

    Attributes:
        kind: its name on the wire, e.g. `"forward_backward"`.
        seq_id: the client's number for it, or None.
        future: where its result goes; None for one that was refused and only holds its place.
        work: computes, on a worker thread; is given the engine's model.
        gradient: whether the next step lacks something if this fails.
        step: whether this is the step.
        clean_after: whether no gradient is left after a success, nor any trace of what failed before.
        creates: whether without this there is no model.
        always: whether it is done whatever failed before it.
        knows: which failures its caller knew of.
        arrival: how it came, for a gradient.
        on_success: what the core does with the value of a success.
        refused: for one that was refused and that others build on: that.
    """

    kind: str
    seq_id: int | None
    future: Future | None = None
    work: Callable[[TrainedModel], Success] | None = None
    gradient: bool = False
    step: bool = False
    clean_after: bool = False
    creates: bool = False
    always: bool = False
    knows: Knowledge = NOTHING
    arrival: Arrival | None = None
    on_success: Callable[[Any], None] | None = None
    refused: Taint | None = None

    @property
    def built_on(self) -> bool:
        """Whether others build on it."""
        return self.gradient or self.step or self.clean_after


class Model:
    """A model: what it is, what waits for it, what state its gradients are in.

    Attributes:
        model_id: its id.
        session_id: the session it belongs to.
        owner: whose it is.
        weight: bytes that it takes in memory.
        base_model: what it is trained from; None until a checkpoint has said so.
        lora: how; likewise.
        trained: the engine's model, once it is created.
        creation_failure: why it could not be created.
        taints: what failed and may not be known yet.
        numbers: the `seq_id`s used.
        sequencer: the operations that wait.
        running: the operation being done.
        closed: whether the model has been unloaded.
        has_turn: kept by `Turns`.
        gap: the number that everything waits for and since when, kept by `gaps`.
    """

    def __init__(
        self,
        model_id: str,
        session_id: str,
        base_model: str | None,
        lora: LoraConfig | None,
        owner: str,
        weight: int = 0,
    ) -> None:
        self.model_id = model_id
        self.session_id = session_id
        self.owner = owner
        self.weight = weight
        self.base_model = base_model
        self.lora = lora
        self.trained: TrainedModel | None = None
        self.creation_failure: Failure | None = None
        self.taints = Taints()
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

    def put(self, operation: Operation) -> None:
        """Put an operation in line."""
        self.sequencer.put(operation.seq_id, operation, _of_one_call)

    def begin(self, operation: Operation) -> Callable[[], Success] | Failure | None:
        """Start an operation: return the work to do, or how it failed without any, or None for a held place."""
        knows, future = operation.knows, operation.future
        if future is None:
            if operation.refused is not None:
                self.taints.note(operation.refused, knows)
            return None
        if self.creation_failure is not None:
            said = f"{operation.kind} was not done, because {self.model_id} could not be created: "
            return Failure(said + self.creation_failure.message, self.creation_failure.category)
        if knows.said is not None:
            self.taints.settle(knows)
        taint = None if operation.always else self.taints.unknown_to(knows, step=operation.step)
        if taint is None:
            self.running = operation
            return self._anew(operation) if self._strands(operation) else self._bound(operation)
        future.on_told = lambda: self.taints.tell(taint)
        if not operation.step:
            return _not_done(operation, taint)
        self.running = operation
        return self._refusal(operation, taint)

    def end(self, operation: Operation, result: Result) -> None:
        """Take note of how an operation ended."""
        self.running = None
        if isinstance(result, Failure):
            self._failed(operation, result)
            return
        if operation.on_success is not None and not self.closed:
            operation.on_success(result.value)
        if operation.arrival is not None:
            self.taints.gather(operation.arrival)
        elif operation.step or operation.clean_after:
            self.taints.clear()
            self.taints.empty()

    def _failed(self, operation: Operation, failure: Failure) -> None:
        if operation.step:
            self.taints.empty()  # what can't be done leaves no gradient behind either
        if operation.creates:
            self.creation_failure = failure
        elif operation.step and failure.refused:
            self.taints.close()
        elif operation.built_on:
            arrival, gradient = operation.arrival, operation.gradient
            taint = Taint(operation.kind, operation.seq_id, failure.message, gradient=gradient, arrival=arrival)
            self.taints.note(taint, operation.knows)
            assert operation.future is not None
            operation.future.on_told = lambda: self.taints.tell(taint)

    def _bound(self, operation: Operation) -> Callable[[], Success]:
        work, trained = operation.work, self.trained
        assert work is not None
        # A creating operation makes the model itself and ignores what it is given.
        return lambda: work(trained)  # type: ignore[arg-type]

    def _strands(self, operation: Operation) -> bool:
        """Return whether what is there of a call that failed in part has to go before a gradient is added."""
        return operation.gradient and self.taints.stranded and operation.knows.said is None

    def _anew(self, operation: Operation) -> Callable[[], Success]:
        work, trained = self._bound(operation), self.trained
        self.taints.empty()

        def begin_anew() -> Success:
            assert trained is not None
            trained.discard_gradients()
            return work()

        return begin_anew

    def _refusal(self, operation: Operation, taint: Taint) -> Callable[[], Success]:
        trained = self.trained
        number = "" if operation.seq_id is None else f" with seq_id {operation.seq_id}"
        message = (
            f"{operation.kind}{number} refused: {sentence(str(taint))} "
            f"The step was not applied, and the gradients accumulated for it were discarded."
        )
        failure = Failure(message, "user", preceding_seq_id=taint.seq_id, refused=True)

        def refuse() -> Success:
            assert trained is not None
            trained.discard_gradients()
            raise RefusedStepError(failure)

        return refuse


def _of_one_call(operations: list[Operation]) -> list[Operation]:
    """Return operations whose turn comes together, as one call that knows what all of its parts know."""
    if len(operations) <= 1:
        return operations
    knows = in_common([operation.knows for operation in operations])
    for operation in operations:
        arrival = operation.arrival if operation.refused is None else operation.refused.arrival
        if arrival is not None:
            arrival.together = operations[0].seq_id
    return [msgspec.structs.replace(operation, knows=knows) for operation in operations]


def _not_done(operation: Operation, taint: Taint) -> Failure:
    number = "" if operation.seq_id is None else f" with seq_id {operation.seq_id}"
    message = f"{operation.kind}{number} was not done: its caller had not been told that {taint}"
    return Failure(message, "user", preceding_seq_id=taint.seq_id)
