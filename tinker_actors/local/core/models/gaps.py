"""Gaps: what becomes of operations that wait for a number that never comes.

A client that gave up on a request, or died between two, leaves a number open. For a while it may still come; then what
waits behind it fails and says which number is missing, and the model goes on behind them. An operation that never came
counts as a failed gradient, because it may have been one: the next step is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tinker_actors.local.core.jobs import Success
from tinker_actors.local.core.models.model import Model, Operation
from tinker_actors.local.core.models.tainting import NOTHING, Taint
from tinker_actors.local.core.ports import TrainedModel
from tinker_actors.local.core.requests.messages import NO_RETRY, RefusedError
from tinker_actors.local.core.state import CoreState
from tinker_actors.types.failures import runs_text

_MOST_RUNS = 10
"""Runs of missing numbers that a message names."""


def give_up_gaps(core: CoreState, now: float) -> None:
    """Fail what has waited for a missing number for longer than the limit.

    Args:
        core: the state.
        now: the time, in seconds.
    """
    for model in core.models.values():
        waits_for = model.sequencer.missing
        if waits_for is None:
            model.gap = None
        elif model.gap is None or model.gap[0] != waits_for:
            model.gap = (waits_for, now)
        elif now - model.gap[1] >= core.limits.gap_seconds:
            _give_up(core, model)


def forgive(core: CoreState, seconds: float) -> None:
    """Take seconds in which nobody here listened off every wait for a missing number."""
    for model in core.models.values():
        if model.gap is not None:
            model.gap = (model.gap[0], model.gap[1] + seconds)


def _give_up(core: CoreState, model: Model) -> None:
    model.gap = None
    missing = model.sequencer.skip_missing(lambda operation, open_: _failing(operation, open_, model.model_id))
    refusal = RefusedError(409, "This number was given up: what was behind it has failed already.", NO_RETRY)
    for numbers in missing:
        model.numbers.give_up(numbers, refusal.answer())
    taint = Taint("the operation", missing[0][0], "it never came", absent=True)
    model.taints.note(taint, NOTHING)
    core.turns.offer(model)


def _failing(operation: Operation, missing: Sequence[range], model_id: str) -> Operation:
    """Return the same operation, as one that fails when its turn comes; others hold only what never came against it."""
    numbers = runs_text(missing[:_MOST_RUNS])
    more = "" if len(missing) <= _MOST_RUNS else f" and {len(missing) - _MOST_RUNS} further runs of numbers"

    def fail(_: TrainedModel) -> Success:
        raise ValueError(
            f"{operation.kind} with seq_id {operation.seq_id} was not done: seq_id {numbers}{more} of {model_id} never "
            "came."
        )

    return msgspec.structs.replace(operation, work=fail, gradient=False, arrival=None, clean_after=False)
