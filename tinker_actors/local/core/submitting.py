"""Submitting: how an operation on a model is accepted, resent, or refused without leaving a gap.

Every operation with a `seq_id` takes this way, so that the rules about numbers are in one place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from tinker_actors.local.core.jobs import Failure, Job, Result
from tinker_actors.local.core.messages import Answer, CoreRequest, RefusedError, ok
from tinker_actors.local.core.models import Model, Operation
from tinker_actors.local.core.numbers import Numbers
from tinker_actors.local.core.ports import TrainedModel
from tinker_actors.local.core.reading import read

if TYPE_CHECKING:
    from tinker_actors.local.core.jobs import Success
    from tinker_actors.local.core.state import CoreState

FILLER = "forward"
"""The one operation that may take the place of a refused one: it changes nothing, so late is as good as in time."""


class Plan(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """What an accepted request will do; see `Operation` for the other fields.

    Attributes:
        claims: a number of another scope that the request uses too, with that scope.
    """

    work: Callable[[TrainedModel], Success]
    gradient: bool = False
    step: bool = False
    clean_after: bool = False
    creates: bool = False
    on_success: Callable[[Any], None] | None = None
    claims: tuple[Numbers, int] | None = None


class Numbered(msgspec.Struct, eq=False):
    """The fields that every operation on a model has."""

    model_id: str
    seq_id: int | None = None


B = TypeVar("B", bound=Any)


def submit(
    core: CoreState,
    request: CoreRequest,
    kind: str,
    body_type: type[B],
    prepare: Callable[[CoreState, Model, B], Plan],
) -> Answer:
    """Accept an operation, and return the answer with its future's id.

    Args:
        core: the state.
        request: the request.
        kind: the operation's name.
        body_type: the body's record, with `model_id` and `seq_id`.
        prepare: looks at the body and says what is to be done, or refuses.

    Raises:
        RefusedError: the request was not accepted. A numbered one then holds its number's place.
    """
    try:
        body = read(request, body_type)
    except RefusedError as refusal:
        _hold_unread_place(core, request, kind, refusal)
        raise
    model = core.model(body.model_id)
    _require_number(body.seq_id)
    earlier = model.numbers.replay(body.seq_id, request)
    if earlier is not None:
        return earlier
    # The number that the others wait for is always let in, or none of them would ever leave.
    if len(model.sequencer) >= core.limits.queued_per_model and body.seq_id != model.sequencer.next_number:
        raise RefusedError(429, f"{len(model.sequencer)} operations of this model wait already.", ("retry-after", "1"))
    filler = model.numbers.was_refused(body.seq_id)
    if filler and kind != FILLER:
        raise model.numbers.conflict(body.seq_id)
    try:
        plan = prepare(core, model, body)
        claimed = plan.claims[0].replay(plan.claims[1], request) if plan.claims else None
    except RefusedError as refusal:
        if not filler:
            _hold_place(core, model, body.seq_id, request, kind, refusal)
        raise
    if claimed is not None:
        return claimed
    answer = enqueue(core, model, kind, plan, None if filler else body.seq_id)
    if plan.claims is not None:
        plan.claims[0].record(plan.claims[1], request, answer)
    return model.numbers.record(body.seq_id, request, answer)


def enqueue(core: CoreState, model: Model, kind: str, plan: Plan, seq_id: int | None) -> Answer:
    """Put an operation in its model's line, and return the answer with its future's id."""
    future = core.futures.create(kind, model.session_id)
    future.why_waiting = lambda: model.why_waiting(seq_id)
    operation = Operation(
        kind=kind,
        seq_id=seq_id,
        future=future,
        work=plan.work,
        gradient=plan.gradient,
        step=plan.step,
        clean_after=plan.clean_after,
        creates=plan.creates,
        on_success=plan.on_success,
    )
    model.sequencer.put(seq_id, operation)
    core.turns.offer(model)
    return ok({"request_id": future.request_id, "model_id": model.model_id})


def next_train_job(core: CoreState) -> Job | None:
    """Return the next job of the model whose turn it is, or None when nothing can be done now."""
    while (model := core.turns.take()) is not None:
        while model.idle and (operation := model.sequencer.pop()) is not None:
            work = model.begin(operation)
            future = operation.future
            if work is None or future is None:
                continue
            if isinstance(work, Failure):
                core.futures.settle(future, work)
                continue
            return Job("train", f"{operation.kind} {future.request_id}", work, _ending(core, model, operation))
    return None


def _ending(core: CoreState, model: Model, operation: Operation) -> Callable[[Result, float], None]:
    def done(result: Result, _now: float) -> None:
        model.end(operation, result)
        if operation.future is not None:
            core.futures.settle(operation.future, result)
        core.turns.offer(model)

    return done


def _require_number(seq_id: int | None) -> None:
    if seq_id is not None and seq_id < 1:
        raise RefusedError(422, f"seq_id starts at 1, got {seq_id}.")


def _hold_place(
    core: CoreState, model: Model, seq_id: int | None, request: CoreRequest, kind: str, refusal: RefusedError
) -> None:
    """Let a refused request's number count as used, so that later numbers do not wait for it."""
    if seq_id is None:
        return
    model.numbers.record(seq_id, request, refusal.answer(), refused=True)
    operation = Operation(kind=kind, seq_id=seq_id, gradient=kind == "forward_backward", refused=refusal.detail)
    model.sequencer.put(seq_id, operation)
    core.turns.offer(model)


def _hold_unread_place(core: CoreState, request: CoreRequest, kind: str, refusal: RefusedError) -> None:
    """Do the same for a body of the wrong form, if at least its number can be read."""
    try:
        body = read(request, Numbered)
        model = core.model(body.model_id)
        _require_number(body.seq_id)
    except RefusedError:
        return  # the refusal that is on its way to the client says what matters
    if body.seq_id is not None and body.seq_id not in model.numbers:
        _hold_place(core, model, body.seq_id, request, kind, refusal)
