"""Consequences: what the failure of one operation says of the server, and what is said to those behind it."""

from __future__ import annotations

from typing import Literal

from tinker_actors.errors import (
    APIConnectionError,
    APIResponseValidationError,
    OutcomeUnknownError,
    PrecedingOperationFailed,
    StalledError,
    StepTaintedError,
    TinkerError,
    fresh,
)
from tinker_actors.protocol.requests.operations import Operation
from tinker_actors.wording import sentence

Left = Literal["held", "perhaps held", "applied", "perhaps applied"]
"""What a failure left on the server: gradients that nobody wants, or a step with such gradients in the weights."""

_REFUSED = (400, 422)
_GATEWAY_TIMEOUT = 504


def outcome_unknown(error: TinkerError) -> bool:
    """Return whether nobody knows what became of an operation: the server stalled, forgot it, or tells nonsense."""
    return isinstance(error, StalledError | OutcomeUnknownError | APIResponseValidationError)


def may_be_done(error: TinkerError, *, accepted: bool) -> bool:
    """Return whether the server may have done something of a request that failed.

    Args:
        error: how it failed.
        accepted: whether the server had accepted it. What it then failed it did not do; what it refused as such (400,
            422) neither.
    """
    if accepted:
        return outcome_unknown(error)
    return error.outcome != "not_applied" and error.status_code not in _REFUSED


def unanswered(ended: TinkerError, trouble: str) -> TinkerError:
    """Return why what is in flight fails when the time for it is over: with the server's trouble, if it has any.

    Args:
        ended: why it would fail otherwise.
        trouble: why the server can't be reached or does not work, or nothing.
    """
    if not trouble:
        return ended
    error = fresh(ended)
    error.message = sentence(f"{ended.message.removesuffix('.')}, and the server did not answer: {trouble}")
    error.args = (error.message,)
    return error


def answer_lost(error: TinkerError) -> bool:
    """Return whether the server may have accepted a submission that failed so: its answer was lost, late or damaged."""
    if isinstance(error, APIConnectionError):
        return error.outcome != "not_applied"
    return isinstance(error, APIResponseValidationError) or error.status_code == _GATEWAY_TIMEOUT


def never_filled(number: int, refusal: TinkerError) -> TinkerError:
    """Return why nothing can be sent behind a number under which the server takes nothing (wire protocol 6.1).

    Args:
        number: the `seq_id`.
        refusal: what the server said to the last thing that was offered to it under this number.
    """
    return TinkerError(
        f"The server refused the request with number {number} and also everything without effect that was sent in its "
        f"place. It runs the requests of a model in the order of their numbers, so it would never come to what is "
        f"behind this one. It said: {refusal.message}",
        status_code=refusal.status_code,
        category=refusal.category,
        outcome="not_applied",
        advice="The next call tries again. For a server that waits for no number, say Config(server_orders=False).",
    )


def applied_behind(error: TinkerError, request_id: str | None, *, empty: bool) -> TinkerError:
    """Return the error for an optimizer step that the server applied although what it builds on failed.

    Args:
        error: the failure.
        request_id: the step's.
        empty: whether the step had no gradient but what failed, so that nothing wrong is in the weights.
    """
    consequence: TinkerError
    if empty:
        consequence = PrecedingOperationFailed(
            f"The server did the optimizer step, which had no gradient to apply, because the operation that was to "
            f"give it one failed: {error}",
            preceding=error,
            request_id=request_id,
            outcome="applied",
        )
    else:
        consequence = StepTaintedError(
            f"The server applied the optimizer step although an operation before it failed: {error}",
            preceding=error,
            request_id=request_id,
            outcome="applied",
        )
    consequence.on_told = error.on_told
    return consequence


_LEFT: dict[Left, str] = {
    "held": "an operation before it failed, and the server holds, or may hold, gradients of that step, which it can't "
    "be told to discard",
    "perhaps held": "gradients of a step that failed were to be discarded, and it is not known whether they were",
    "applied": "an operation before it failed, and the server has applied a step that was called before its caller "
    "was told of that",
    "perhaps applied": "an operation before it failed, and the server may have applied a step that was called before "
    "its caller was told of that",
}


def tainted(name: str, error: TinkerError | None, left: Left) -> StepTaintedError:
    """Return the error for an operation that would build on what the failure `error` left on the server.

    Args:
        name: of the operation.
        error: the failure.
        left: what that is.
    """
    return StepTaintedError(
        f"{name} was not sent: {_LEFT[left]}: {error}",
        preceding=error,
        outcome="not_applied",
    )


def advice_behind(operation: Operation) -> str | None:
    """Return what to do about an operation that was not done because of a failure, or None for the usual advice."""
    if operation.gradient or operation.step or operation.restores:
        return None
    return (
        f"Call {operation.name} again: it is done now. Behind acknowledge_failure() it is done whatever else that was "
        f"called before has failed or will."
    )


def preceded(operation: Operation, error: TinkerError) -> PrecedingOperationFailed:
    """Return the error for an operation that was kept back because of `error`. Who is told of it is told of both."""
    consequence = PrecedingOperationFailed(
        f"{operation.name} was not sent, because an operation before it failed, which its caller had not been told: "
        f"{error}",
        preceding=error,
        advice=advice_behind(operation),
    )
    consequence.on_told = error.on_told
    return consequence
