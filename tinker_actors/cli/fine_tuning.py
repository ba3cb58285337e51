"""Fine-tuning: the demo's training loop, with a few steps under way at a time.

The server is never idle because the next step is there before it has finished the last one, and results are still
looked at in order, so that a failure ends the loop close to where it happened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import msgspec

from tinker_actors.cli.pig_latin import datum
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.types import AdamParams, Datum, ForwardBackwardOutput, LossFnType, OptimStepResponse


class Trainer(Protocol):
    """The two methods of `TrainingClient` that a step needs."""

    def forward_backward(self, data: list[Datum], loss_fn: LossFnType) -> APIFuture[ForwardBackwardOutput]:
        """Submit a gradient."""

    def optim_step(self, optim_params: AdamParams) -> APIFuture[OptimStepResponse]:
        """Submit an optimizer step."""


class Step(msgspec.Struct, frozen=True):
    """A finished step.

    Attributes:
        number: counted from 1.
        loss: mean over the tokens that count.
        tokens: tokens the model read.
    """

    number: int
    loss: float
    tokens: int


class _UnderWay(msgspec.Struct):
    number: int
    data: list[Datum]
    gradient: APIFuture[ForwardBackwardOutput]
    applied: APIFuture[OptimStepResponse]

    def finish(self) -> Step:
        output = self.gradient.result()
        self.applied.result()
        counted = sum(float(one.loss_fn_inputs["weights"].to_numpy().sum()) for one in self.data)
        tokens = sum(one.model_input.length for one in self.data)
        return Step(self.number, output.metrics["loss:sum"] / counted, tokens)


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Return the rate of a step counted from 0: `peak` for the first, falling linearly, never zero."""
    return peak * (1 - step / steps)


def fine_tune(
    trainer: Trainer, batches: Iterable[Sequence[str]], *, steps: int, peak: float, in_flight: int
) -> Iterator[Step]:
    """Train on batches of words and yield each step when it is finished, in order.

    Gradient and optimizer step are submitted together; nothing waits for the gradient.

    Args:
        trainer: the model.
        batches: `steps` of them.
        steps: over which the learning rate falls.
        peak: the first learning rate.
        in_flight: how many steps are submitted before the oldest is waited for, at least 1.

    Raises:
        TinkerError: a step failed.
    """
    under_way: deque[_UnderWay] = deque()
    for index, words in enumerate(batches):
        data = [datum(word) for word in words]
        gradient = trainer.forward_backward(data, "cross_entropy")
        applied = trainer.optim_step(AdamParams(learning_rate=learning_rate(index, steps, peak)))
        under_way.append(_UnderWay(index + 1, data, gradient, applied))
        if len(under_way) == in_flight:
            yield under_way.popleft().finish()
    while under_way:
        yield under_way.popleft().finish()
