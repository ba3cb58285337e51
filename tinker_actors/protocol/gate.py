"""The gate: what a failed gradient does to the operations behind it.

A step is a run of gradient operations closed by an optimizer step. When a gradient operation fails for good, the step
it belongs to must not be applied with part of its gradient missing. What follows depends on the server: the embedded
one refuses such a step itself and discards the gradients; others apply whatever they are sent, so the step is kept
back here, and if gradients may have stayed behind on the server, training stops until somebody decides.

    clean    -- a gradient fails, its step was not sent ------------->  failed
    clean    -- a gradient fails, its step was sent, server refuses ->  clean
    clean    -- a gradient fails, its step was sent, server applies ->  tainted
    failed   -- the step comes, the server can refuse it ------------>  clean   (sent; its refusal is its result)
    failed   -- the step comes, nothing was left on the server ------>  clean   (kept back)
    failed   -- the step comes, gradients were left on the server --->  tainted (kept back)
    any      -- a load_state succeeds, or a person acknowledges ------>  clean
"""

from __future__ import annotations

from typing import Literal

from tinker_actors.errors import (
    APIResponseValidationError,
    OutcomeUnknownError,
    PrecedingOperationFailed,
    StalledError,
    StepTaintedError,
    TinkerError,
)
from tinker_actors.protocol.operations import Operation

_REFUSED = (400, 422)

GateState = Literal["clean", "failed", "tainted"]


class StepGate:
    """Decides whether an operation may be sent. Plain state for the one actor that owns it.

    Args:
        stop: whether failures stop the step at all; False sends everything, as the official SDK does.
        server_refuses: whether the server itself refuses a step behind a failed gradient.

    Attributes:
        place: how many operations were asked about; right after `admit` this is the place of that operation.
    """

    def __init__(self, *, stop: bool = True, server_refuses: bool = False) -> None:
        self.server_refuses = server_refuses
        self.place = 0
        self._stop = stop
        self._failed_at = 0
        self._state: GateState = "clean"
        self._error: TinkerError | None = None
        self._server_knows = False
        self._partly = False
        self._gradients = 0  # sent since the last step, less those of which nothing is on the server

    @property
    def state(self) -> GateState:
        """`"clean"`, `"failed"` or `"tainted"`."""
        return self._state

    def admit(self, operation: Operation) -> TinkerError | None:
        """Return None when the operation may be sent, or the error to fail it with instead.

        Call it once per operation, in call order, at the moment it would be sent.
        """
        self.place += 1
        if self._state == "clean" or operation.restores:
            if operation.step or operation.restores:
                self._gradients = 0
            self._gradients += operation.gradient
            return None
        if self._state == "tainted":
            return self._tainted(operation)
        return self._admit_after_failure(operation)

    def _tainted(self, operation: Operation) -> StepTaintedError:
        return StepTaintedError(
            f"{operation.name} was not sent: an operation before it failed, and the server may still hold gradients of "
            f"that step.",
            preceding=self._error,
            outcome="not_applied",
        )

    def keep_back(self, operation: Operation, error: TinkerError) -> TinkerError:
        """Return what to fail an operation with that is not sent because of `error`. Call it in the place of `admit`.

        A gradient that is not sent is one that failed: the step that comes behind it must not be applied.
        """
        self.place += 1
        if self._state == "tainted":
            return self._tainted(operation)
        refusal = preceded(operation.name, self._error or error)
        if self._stop and (operation.step or operation.gradient):
            if self._state == "clean":
                self._state, self._error, self._failed_at = "failed", error, self.place
            if operation.step:
                self._step_kept_back()
        return refusal

    def _admit_after_failure(self, operation: Operation) -> TinkerError | None:
        error = preceded(operation.name, self._error)
        if not operation.step:
            return error
        if self.server_refuses and self._server_knows:
            self.clear()
            return None
        self._step_kept_back()
        return error

    def _step_kept_back(self) -> None:
        if self._gradients > 0 or self._partly:
            self._state = "tainted"
        else:
            self.clear()

    def gradient_failed(
        self, error: TinkerError, *, server_knows: bool, step_sent: bool, partly: bool, place: int | None = None
    ) -> None:
        """Note that a gradient operation failed for good.

        Args:
            error: why.
            server_knows: the server itself failed it, after it had accepted it.
            step_sent: the optimizer step that closes its step was sent already; its answer tells the rest.
            partly: the server may have computed a part of this operation's gradient.
            place: the operation's place; default: the newest.
        """
        if not self._stop or self._state == "tainted":
            return
        self._failed_at = max(self._failed_at, self.place if place is None else place)
        if step_sent:
            if not self.server_refuses or not server_knows:
                self.taint(error)
            return
        if self._state == "clean":
            self._state, self._error = "failed", error
        self._gradients -= not partly
        self._server_knows = self._server_knows or server_knows
        self._partly = self._partly or partly

    def taint(self, error: TinkerError) -> None:
        """Note that the server applied a step behind the gradient that failed with `error`."""
        if self._stop:
            self._state, self._error = "tainted", error

    def restored(self, place: int) -> None:
        """Note that the `load_state` at `place` succeeded: what failed before it does not matter any more."""
        if self._failed_at < place:
            gradients = self._gradients
            self.clear()
            self._gradients = gradients  # those sent since

    def clear(self) -> None:
        """Begin anew with the weights as they are."""
        self._state, self._error = "clean", None
        self._server_knows = self._partly = False
        self._gradients = self._failed_at = 0


def server_knows(error: TinkerError, *, accepted: bool) -> bool:
    """Return whether the server itself takes an operation for failed.

    One that refused the request as such knows of the failure as well as one that failed to compute it. Where it tells a
    result that nobody can read, the operation is done for it.
    """
    if accepted:
        return not isinstance(error, APIResponseValidationError)
    return error.status_code in _REFUSED


def outcome_unknown(error: TinkerError) -> bool:
    """Return whether nobody knows what became of an operation: the server stalled, forgot it, or tells nonsense."""
    return isinstance(error, StalledError | OutcomeUnknownError | APIResponseValidationError)


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


def applied_behind(error: TinkerError, request_id: str | None) -> StepTaintedError:
    """Return the error for an optimizer step that the server applied although a gradient of it failed with `error`."""
    return StepTaintedError(
        f"The server applied the optimizer step although a gradient before it failed: {error}",
        preceding=error,
        request_id=request_id,
        outcome="applied",
    )


def preceded(name: str, error: BaseException | None) -> PrecedingOperationFailed:
    """Return the error for an operation that was kept back because of `error`."""
    return PrecedingOperationFailed(
        f"{name} was not sent, because an operation before it failed: {error}",
        preceding=error,
    )
