"""Failing: what failures do to a model's operations. Applies the rules of `protocol/order.py`.

Each failure that others build on gets a cause, and its error a `Notice`: when the error, or that of a consequence, is
given to the user, the training actor is told before whatever he calls next.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from tinker_actors.actors.messages import AcknowledgeFailure, FailureTold
from tinker_actors.actors.model.operation import Pending, settle_error
from tinker_actors.actors.service import Service
from tinker_actors.errors import PrecedingOperationFailed, TinkerError
from tinker_actors.events.records import StepRefused
from tinker_actors.protocol.order import Order, Verdict
from tinker_actors.protocol.requests.operations import discard
from tinker_actors.runtime.actor import Ref, tell
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.progress import Tracker

if TYPE_CHECKING:
    from tinker_actors.actors.model.actor import Training


class Notice:
    """Tells a training actor that the user was told of a failure. The `on_told` of errors; any thread.

    Args:
        ref: the actor.
        cause: which failure, in its count.
    """

    __slots__ = ("_ref", "cause")

    def __init__(self, ref: Ref, cause: int) -> None:
        self._ref: Ref | None = ref
        self.cause = cause

    def __call__(self) -> None:
        """Tell `FailureTold`."""
        ref = self._ref
        if ref is not None:
            tell(ref, FailureTold(self.cause))
            self._ref = None  # only now: another thread that finds it gone may call at once


class Failing:
    """Decides what may be sent, and what the user is told of it. Part of a training actor; used where it runs.

    Attributes:
        order: where the operations stand.
    """

    def __init__(self, owner: Training, service: Service) -> None:
        self.order = Order(stops=service.config.on_step_failure == "stop")
        self._owner = owner
        self._service = service
        self._causes = itertools.count(1)

    def told(self, message: FailureTold | AcknowledgeFailure) -> None:
        """Note that the user knows of a failure, or that he goes on with the weights as they are."""
        if isinstance(message, FailureTold):
            self.order.told(message.cause)
        else:
            self.order.acknowledge()

    # ------------------------------------------------------------ before an operation is sent

    def admits(self, pending: Pending) -> Verdict:
        """Return what is to be done with the next operation; where it is to fail, that is done."""
        found, error = self.order.admit(pending.operation, pending.place)
        if error is not None:
            self._refuse(pending, error)
        return found

    def keep_back(self, pending: Pending, error: TinkerError) -> None:
        """Fail an operation that is not sent for another reason, because of `error`."""
        self._refuse(pending, self.order.keep_back(pending.operation, pending.place, error, self.cause_of(error)))

    def discarding(self, place: int) -> Pending:
        """Return what discards the gradients before the operation at `place`."""
        future: APIFuture[None] = APIFuture(Tracker("discard", self._owner.now()))
        future._looked_at = True  # what fails of it shows in what was to be sent behind it
        future._counted = False
        pending = Pending(discard(), future)
        pending.place = place
        return pending

    def known(self, pending: Pending) -> tuple[range, ...] | None:
        """Return the numbers of the failures that the caller knew of, or None where the server does not ask."""
        return self.order.known(pending.place, pending.first) if self.order.discards else None

    def _refuse(self, pending: Pending, error: TinkerError) -> None:
        self._emit(pending, error)
        settle_error(pending, error)

    def _emit(self, pending: Pending, error: TinkerError) -> None:
        if pending.operation.step:
            self._service.hub.emit(StepRefused(self._owner.model_id or "", error))

    # ------------------------------------------------------------ afterwards

    def cause_of(self, error: TinkerError) -> int:
        """Return which failure an error tells of: a new one, the first time that it is asked."""
        notice = error.on_told
        if not isinstance(notice, Notice):
            notice = error.on_told = Notice(self._owner.actor_ref, next(self._causes))
        return notice.cause

    def failed(self, pending: Pending, error: TinkerError) -> None:
        """Note why an operation that was sent failed for good."""
        if isinstance(error, PrecedingOperationFailed) and isinstance(error.preceding, TinkerError):
            error = error.preceding  # what is behind this one fails for the same reason
        self.order.failed(pending.operation, pending.place, error, self.cause_of(error), pending.numbers)

    def conclude(self, pending: Pending) -> TinkerError | None:
        """Note how an operation ended of which nothing more will come; return the error to fail it with, or None."""
        if pending.refused_behind:
            self._refused_behind(pending)
        error = self.order.conclude(pending, pending.future.request_id)
        if isinstance(error, PrecedingOperationFailed):
            self._emit(pending, error)
        return error

    def _refused_behind(self, pending: Pending) -> None:
        """Take a server's word that it refused an operation because of one before it."""
        error = pending.error
        assert isinstance(error, PrecedingOperationFailed)
        number = error.preceding_seq_id
        assert number is not None
        if self.order.refused_behind(pending.operation, pending.place, error) is None:
            numbers = range(number, number + 1)
            self.order.failed(pending.operation, pending.place, error, self.cause_of(error), numbers)
