"""Steps: a gradient and the optimizer step behind it, as one future.

Both are submitted at once and in order, as two calls would be; what is new is that there is one thing to wait for.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinker_actors.errors import TinkerError
from tinker_actors.runtime.delivery import Delivery, Inner
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.progress import Server, Tracker, WaitReason
from tinker_actors.types.inputs import Datum
from tinker_actors.types.training import ForwardBackwardOutput, OptimStepResponse, StepResult

_LOSS = "loss:sum"


class StepTracker(Tracker):
    """A tracker that also adds up how long each reason lasted. Args as those of `Tracker`."""

    __slots__ = ("_last", "_spent")

    def __init__(self, what: str, now: float, server: Server | None = None) -> None:
        super().__init__(what, now, server=server)
        self._spent: dict[str, float] = {}
        self._last: tuple[WaitReason, float] = (self.reason, now)

    def enter(self, reason: WaitReason, now: float, detail: str = "") -> None:
        """Note a reason, and what the one before it took. The end is no reason, and comes without a time."""
        last, since = self._last
        if reason not in (last, "done"):
            self._spent[last] = self._spent.get(last, 0.0) + now - since
            self._last = reason, now
        super().enter(reason, now, detail)

    def waits(self, now: float) -> dict[str, float]:
        """Return the seconds spent on each reason until now."""
        last, since = self._last
        return {**self._spent, last: self._spent.get(last, 0.0) + now - since}


def trained_tokens(data: Sequence[Datum]) -> int:
    """Return how many target tokens have a weight other than 0, or no weight at all."""
    return sum(_trained(datum) for datum in data)


def _trained(datum: Datum) -> int:
    tensor = datum.loss_fn_inputs.get("weights")
    if tensor is not None:
        return int(np.count_nonzero(tensor._array))  # in a sparse one, what is not stored is 0
    targets = datum.loss_fn_inputs.get("target_tokens")
    return 0 if targets is None else targets._array.size


class Step:
    """Puts the two results of a step together.

    Args:
        gradient: the future of the gradient.
        optimizer: the future of the optimizer step.
        tracker: where the optimizer step stands, from the beginning of the call.
        tokens: how many tokens the step trains on.
        clock: monotonic time in seconds.
        delivery: what runs the callbacks.

    Attributes:
        future: the future of both. Its progress is the optimizer step's, which comes last.
    """

    def __init__(
        self,
        gradient: APIFuture[ForwardBackwardOutput],
        optimizer: APIFuture[OptimStepResponse],
        tracker: StepTracker,
        tokens: int,
        clock: Callable[[], float],
        delivery: Delivery,
    ) -> None:
        self.future: APIFuture[StepResult] = APIFuture(tracker, delivery=delivery)
        self.future._counted = False  # the two are
        self._gradient = gradient
        self._optimizer = optimizer
        self._tracker = tracker
        self._tokens = tokens
        self._clock = clock
        gradient.add_done_callback(Inner(self._after_gradient))

    def _after_gradient(self, _: concurrent.futures.Future[Any]) -> None:
        error = self._gradient._failure()
        if error is not None:
            # Who looks at the step hears of both.
            self._gradient._looked_at = self._optimizer._looked_at = True
            self._fail(error)
            return
        self._optimizer.add_done_callback(Inner(self._after_both))

    def _after_both(self, _: concurrent.futures.Future[Any]) -> None:
        error = self._optimizer._failure()
        if error is not None:
            self._optimizer._looked_at = True
            self._fail(error)
            return
        now = self._clock()
        gathered = self._gradient.result(0).metrics
        loss = gathered.get(_LOSS)
        self.future._settle(
            StepResult(
                loss_per_token=None if loss is None or not self._tokens else loss / self._tokens,
                metrics={**gathered, **(self._optimizer.result(0).metrics or {})},
                tokens=self._tokens,
                seconds=now - self._tracker.born,
                waits=self._tracker.waits(now),
            )
        )

    def _fail(self, error: BaseException) -> None:
        # An error of its own, for each future that raises one adds to its traceback.
        self.future._settle(error=error.replica() if isinstance(error, TinkerError) else error)
