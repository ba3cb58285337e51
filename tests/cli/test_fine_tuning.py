from __future__ import annotations

import concurrent.futures
from typing import Any

import pytest

from tinker_actors.cli.fine_tuning import fine_tune, learning_rate
from tinker_actors.types import AdamParams, Datum, ForwardBackwardOutput, OptimStepResponse


class Recorder:
    """A trainer that notes what is submitted; its futures are decided by the test."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.rates: list[float] = []
        self.gradients: list[concurrent.futures.Future[Any]] = []

    def forward_backward(self, data: list[Datum], loss_fn: str) -> Any:
        self.calls.append(f"{loss_fn} {len(data)}")
        self.gradients.append(concurrent.futures.Future())
        return self.gradients[-1]

    def optim_step(self, optim_params: AdamParams) -> Any:
        self.calls.append("optim_step")
        self.rates.append(optim_params.learning_rate)
        applied: concurrent.futures.Future[OptimStepResponse] = concurrent.futures.Future()
        applied.set_result(OptimStepResponse())
        return applied


class Prompt(Recorder):
    """A trainer whose every gradient is there at once, with a loss of 24."""

    def forward_backward(self, data: list[Datum], loss_fn: str) -> Any:
        future = super().forward_backward(data, loss_fn)
        future.set_result(ForwardBackwardOutput("", [], {"loss:sum": 24.0}))
        return future


def test_steps_are_submitted_while_no_gradient_is_there_up_to_the_limit():
    trainer = Recorder()
    steps = fine_tune(trainer, [["word"]] * 9, steps=9, peak=1.0, in_flight=3)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(next, steps)
        while len(trainer.gradients) < 3 and not first.done():
            concurrent.futures.wait([first], 0.01)
        assert trainer.calls == ["cross_entropy 1", "optim_step"] * 3
        assert not first.done()
        trainer.gradients[0].set_result(ForwardBackwardOutput("", [], {"loss:sum": 8.0}))
        assert first.result(30).number == 1
    assert len(trainer.gradients) == 3


def test_every_step_is_yielded_in_order_with_its_loss_per_token_that_counts():
    steps = list(fine_tune(Prompt(), [["word"], ["sky", "apple"]], steps=2, peak=1.0, in_flight=3))
    assert [step.number for step in steps] == [1, 2]
    # " ordway\n" has 8 tokens; " yskay\n" and " appleway\n" have 17.
    assert [step.loss for step in steps] == pytest.approx([24 / 8, 24 / 17])
    assert [step.tokens for step in steps] == [14, 12 + 17]


def test_the_learning_rate_falls_linearly_and_is_never_zero():
    trainer = Prompt()
    list(fine_tune(trainer, [["word"]] * 4, steps=4, peak=0.8, in_flight=1))
    assert trainer.rates == pytest.approx([0.8, 0.6, 0.4, 0.2])
    assert learning_rate(599, 600, 0.006) > 0


def test_a_failed_step_ends_the_loop_with_its_error():
    trainer = Recorder()
    steps = fine_tune(trainer, [["word"]], steps=1, peak=1.0, in_flight=2)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(next, steps)
        while not trainer.gradients:
            concurrent.futures.wait([first], 0.01)
        trainer.gradients[0].set_exception(ValueError("no"))
        with pytest.raises(ValueError, match="no"):
            first.result(30)
