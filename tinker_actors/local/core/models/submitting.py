"""Submitting: how an operation on a model is accepted, resent, or refused without leaving a gap.

Every operation with a `seq_id` takes this way, so that the rules about numbers are in one place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from tinker_actors.local.core.futures import Future
from tinker_actors.local.core.jobs import Failure, Job, Result, Success
from tinker_actors.local.core.models.model import Model, Operation
from tinker_actors.local.core.models.tainting import NOTHING, Arrival, Knowledge, Taint, knowledge_of
from tinker_actors.local.core.ports import TrainedModel
from tinker_actors.local.core.requests.dialects import sent_in_protobuf
from tinker_actors.local.core.requests.messages import Answer, CoreRequest, RefusedError, ok
from tinker_actors.local.core.requests.numbers import Numbers, digest_of, require_number
from tinker_actors.local.core.requests.reading import read
from tinker_actors.types.failures import KNOWN_FAILURES

if TYPE_CHECKING:
    from tinker_actors.local.core.state import CoreState

_BUILT, _BUILT_FROM_JSON = 2, 8
"""Bytes in memory for each byte of a body: arrays from protobuf, lists of numbers from JSON."""

FILLER = "forward"
"""The one operation that may take the place of a refused one: it changes nothing, so late is as good as in time."""


_BUILT_ON = frozenset({"forward_backward", "optim_step", "load_weights"})


class Plan(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """What an accepted request will do; see `Operation` for the other fields.

    Attributes:
        datums: how many examples a gradient has.
        claims: a number of another scope that the request uses too, with that scope.
    """

    work: Callable[[TrainedModel], Success]
    gradient: bool = False
    datums: int = 0
    step: bool = False
    clean_after: bool = False
    creates: bool = False
    always: bool = False
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
    """Accept an operation sent as JSON, and return the answer with its future's id.

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
        try:
            numbered = read(request, Numbered)
        except RefusedError:
            raise refusal from None  # it says what matters
        hold_unread_place(core, request, kind, refusal, numbered)
        raise
    return submit_read(core, request, kind, body, prepare)


def submit_read(
    core: CoreState, request: CoreRequest, kind: str, body: B, prepare: Callable[[CoreState, Model, B], Plan]
) -> Answer:
    """Do the same for a request whose body has been read.

    Raises:
        RefusedError: as above.
    """
    require_number("seq_id", body.seq_id, least=1)
    try:
        model = core.model(body.model_id)
    except RefusedError:
        finished = _finished_earlier(core, request, body)
        if finished is None:
            raise
        return finished
    earlier = model.numbers.replay(body.seq_id, request)
    if earlier is not None:
        return earlier
    weight = len(request.body) * (_BUILT if sent_in_protobuf(request) else _BUILT_FROM_JSON)
    beyond = _let_in(core, model, body.seq_id, weight)
    filler = model.numbers.was_refused(body.seq_id)
    if filler and kind != FILLER:
        raise model.numbers.conflict(body.seq_id)
    try:
        knows = _knowledge(model, body.seq_id, request)
        plan = prepare(core, model, body)
        if filler:
            plan = msgspec.structs.replace(plan, always=True)
        claimed = plan.claims[0].replay(plan.claims[1], request) if plan.claims else None
    except RefusedError as refusal:
        if not filler:
            _hold_place(core, model, body.seq_id, request, kind, refusal)
        raise
    if claimed is not None:
        return claimed
    arrival = _arrival(request, body.seq_id, plan.datums) if plan.gradient else None
    future = enqueue(core, model, kind, plan, None if filler else body.seq_id, knows, weight, arrival)
    if beyond:
        core.futures.beyond = future
    answer = model.numbers.record(body.seq_id, request, accepted(future))
    if body.seq_id is not None:
        future.seq_id, future.digest = body.seq_id, model.numbers.digest(body.seq_id)
    if plan.claims is not None:
        plan.claims[0].record(plan.claims[1], request, answer)
    return answer


def hold_unread_place(
    core: CoreState, request: CoreRequest, kind: str, refusal: RefusedError, numbered: Numbered
) -> None:
    """Let the number of a request count as used whose body has the wrong form, if it is one that could be used."""
    try:
        model = core.model(numbered.model_id)
        require_number("seq_id", numbered.seq_id, least=1)
    except RefusedError:
        return  # the refusal that is on its way to the client says what matters
    if numbered.seq_id is not None and numbered.seq_id not in model.numbers:
        _hold_place(core, model, numbered.seq_id, request, kind, refusal)


def accepted(future: Future) -> Answer:
    """Return the answer to a request that was accepted."""
    return ok({"request_id": future.request_id, "model_id": future.model_id})


def enqueue(
    core: CoreState,
    model: Model,
    kind: str,
    plan: Plan,
    seq_id: int | None,
    knows: Knowledge = NOTHING,
    weight: int = 0,
    arrival: Arrival | None = None,
) -> Future:
    """Put an operation in its model's line, and return its future."""
    future = core.futures.create(kind, model.session_id, weight)
    future.model_id = model.model_id
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
        always=plan.always,
        knows=knows,
        arrival=arrival,
        on_success=plan.on_success,
    )
    model.put(operation)
    core.turns.offer(model)
    return future


def _let_in(core: CoreState, model: Model, number: int | None, weight: int) -> bool:
    """Check that there is room for an operation, and return whether it is let in without.

    The number that all others wait for is, or none of them would ever leave. If it is larger than they are, then one at
    a time: any number of models may each have such a one.

    Raises:
        RefusedError: 429, there is none.
    """
    waiting = len(model.sequencer)
    if number is None or number != model.sequencer.missing:
        if waiting >= core.limits.queued_per_model:
            raise RefusedError(429, f"{waiting} operations of this model wait already.", ("retry-after", "1"))
        core.futures.require_room(weight)
        return False
    if weight <= sum(operation.future.weight for operation in model.sequencer.early if operation.future is not None):
        return False
    if core.futures.is_one_beyond:
        core.futures.require_memory(weight)
        return False
    return True


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
            name, done = f"{operation.kind} {future.request_id}", _ending(core, model, operation)
            return Job("train", name, work, done, _keeping(core, future))
    return None


def _keeping(core: CoreState, future: Future) -> Callable[[Result], None]:
    return lambda result: core.store.keep_future(future.record(result))


def _ending(core: CoreState, model: Model, operation: Operation) -> Callable[[Result, float], None]:
    def done(result: Result, _now: float) -> None:
        try:
            model.end(operation, result)
        finally:  # whatever becomes of the notes about it, its client hears of it and the model goes on
            core.steps_applied += operation.step and isinstance(result, Success)
            if operation.future is not None:
                core.futures.settle(operation.future, result, kept=True)
            core.turns.offer(model)

    return done


def _finished_earlier(core: CoreState, request: CoreRequest, body: Any) -> Answer | None:
    """Return what was answered to this very request, if its model is gone and its result is not."""
    if body.seq_id is None or not core.catalog.may_see(body.model_id):
        return None
    record = core.store.find_number(body.model_id, body.seq_id)
    if record is None or record.body is None or record.digest != digest_of(request):
        return None
    if not core.caller.owns(record.owner):
        return None
    return ok({"request_id": record.request_id, "model_id": body.model_id})


def _arrival(request: CoreRequest, seq_id: int | None, datums: int = 0) -> Arrival:
    return Arrival(seq_id, not sent_in_protobuf(request), len(request.body), datums)


def _knowledge(model: Model, seq_id: int | None, request: CoreRequest) -> Knowledge:
    header = request.headers.get(KNOWN_FAILURES.lower())
    try:
        return knowledge_of(header, model.taints.told, seq_id, model.sequencer.next_number)
    except ValueError as error:
        raise RefusedError(400, f"{KNOWN_FAILURES}: {error}.") from None


def _hold_place(
    core: CoreState, model: Model, seq_id: int | None, request: CoreRequest, kind: str, refusal: RefusedError
) -> None:
    """Let a refused request's number count as used, so that later numbers do not wait for it."""
    if seq_id is None:
        return
    model.numbers.record(seq_id, request, refusal.answer(), refused=True)
    try:
        knows = _knowledge(model, seq_id, request)
    except RefusedError:
        knows = NOTHING
    taint = None
    if kind in _BUILT_ON:
        gradient = kind == "forward_backward"
        arrival = _arrival(request, seq_id) if gradient else None
        taint = Taint(kind, seq_id, refusal.detail, gradient=gradient, arrival=arrival)
        model.taints.tell(taint)
    model.put(Operation(kind=kind, seq_id=seq_id, knows=knows, refused=taint))
    core.turns.offer(model)
