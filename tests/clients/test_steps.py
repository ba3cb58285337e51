"""A training step as one future, on a simulated server."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import tinker_actors as ta
from tinker_actors.clients import performing
from tinker_actors.clients.steps import StepTracker, trained_tokens
from tinker_actors.runtime.failed_future import unseen
from tinker_actors.types import TensorData


def datum(weights=(1.0, 0.0, 1.0)):
    values = {"target_tokens": [2, 3, 4]} if weights is None else {"target_tokens": [2, 3, 4], "weights": list(weights)}
    return ta.Datum(ta.ModelInput.from_ints([1, 2, 3]), values)


def test_a_step_is_a_gradient_and_an_optimizer_step(simulation, trainer):
    data = [datum(), datum()]
    adam = {"learning_rate": 0.5}
    gradient, optimizer = trainer.forward_backward(data, "cross_entropy"), trainer.optim_step(adam)
    simulation.wait_for(gradient, optimizer)
    began = simulation.runtime.clock.now()
    step = trainer.step(data, "cross_entropy", adam)
    simulation.wait_for(step)
    result = step.result(0)
    assert result.tokens == 4
    assert result.metrics["loss:sum"] / 4 == result.loss_per_token
    assert set(result.metrics) == {*gradient.result(0).metrics, *optimizer.result(0).metrics}
    assert result.metrics["steps:max"] == 2
    assert result.seconds == pytest.approx(simulation.runtime.clock.now() - began)


def test_what_was_waited_for_adds_up_to_the_whole(simulation, trainer):
    step = trainer.step([datum()], "cross_entropy")
    simulation.wait_for(step)
    result = step.result(0)
    assert sum(result.waits.values()) == pytest.approx(result.seconds)
    assert result.waits["waiting for its model"] > 0
    assert result.waits["queued at the server"] > 0
    assert "done" not in result.waits


def test_steps_are_submitted_at_once_and_in_order(simulation, trainer):
    steps = [trainer.step([datum()], "cross_entropy") for _ in range(3)]
    simulation.wait_for(*steps)
    assert [step.result(0).metrics["steps:max"] for step in steps] == [1, 2, 3]


def test_steps_of_several_threads_do_not_mix(simulation, trainer):
    simulation.wait_for(trainer._ready)
    steps, start = [], threading.Barrier(4)

    def train():
        start.wait(30.0)
        steps.extend(trainer.step([datum()], "cross_entropy") for _ in range(10))

    threads = [threading.Thread(target=train) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30.0)
    simulation.wait_for(*steps)
    seen = [each.result(0).metrics for each in steps]
    assert sorted(each["forward_backwards:max"] for each in seen) == list(range(1, 41))
    assert all(each["forward_backwards:max"] == each["steps:max"] for each in seen)


def test_a_step_that_a_signal_handler_calls_comes_before_or_behind_one_it_interrupts(simulation, trainer, monkeypatch):
    simulation.wait_for(trainer._ready)
    steps, tell = [], performing.tell

    def interrupted(ref, message):
        monkeypatch.undo()
        steps.append(trainer.step([datum()], "cross_entropy"))
        return tell(ref, message)

    monkeypatch.setattr(performing, "tell", interrupted)
    steps.append(trainer.step([datum()], "cross_entropy"))
    simulation.wait_for(*steps)
    assert [each.result(0).metrics["forward_backwards:max"] for each in steps] == [1, 2]
    assert [each.result(0).metrics["steps:max"] for each in steps] == [1, 2]


def test_a_step_fails_with_the_first_error_and_nothing_is_left_unseen(simulation, trainer, caplog):
    bad = [ta.Datum(ta.ModelInput.from_ints([5000]), {"target_tokens": [1], "weights": [1.0]})]
    step = trainer.step(bad, "cross_entropy")
    simulation.wait_for(step)
    simulation.runtime.run_until(lambda: not trainer._service.lanes.under_way(trainer._service.link))
    assert isinstance(step.exception(0), ta.RequestFailedError)
    again = trainer.step([datum()], "cross_entropy")
    simulation.wait_for(again)
    assert again.result(0).metrics["steps:max"] == 1
    del step
    unseen.report()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("arguments", [{"data": []}, {"adam_params": {"lr": 1}}, {"loss_fn": "cross_entorpy"}])
def test_what_can_not_be_right_is_refused_before_anything_is_sent(simulation, trainer, arguments):
    with pytest.raises(ta.InvalidInputError):
        trainer.step(**{"data": [datum()], "loss_fn": "cross_entropy", **arguments})
    good = trainer.step([datum()], "cross_entropy")
    simulation.wait_for(good)
    assert good.result(0).metrics["forward_backwards:max"] == 1


@pytest.mark.parametrize(
    ("weights", "tokens"),
    [
        ((1.0, 1.0, 1.0), 3),
        ((0.0, 0.5, -1.0), 2),
        ((0.0, 0.0, 0.0), 0),
        (None, 3),
    ],
)
def test_tokens_count_when_they_weigh_something(weights, tokens):
    assert trained_tokens([datum(weights), datum(weights)]) == 2 * tokens


def test_sparse_and_wide_weights_are_counted():
    sparse = TensorData([0.5, 0.0], "float32", [3, 4], sparse_crow_indices=[0, 1, 2, 2], sparse_col_indices=[0, 2])
    wide = ta.Datum(ta.ModelInput.from_ints([1]), {"target_tokens": np.ones((1, 5), np.int64)})
    assert trained_tokens([ta.Datum(ta.ModelInput.from_ints([1]), {"weights": sparse}), wide]) == 1 + 5


def test_a_step_without_a_loss_or_without_tokens_has_none_per_token(simulation, trainer):
    step = trainer.step([datum((0.0, 0.0, 0.0))], "cross_entropy")
    simulation.wait_for(step)
    assert (step.result(0).tokens, step.result(0).loss_per_token) == (0, None)


def test_a_tracker_adds_up_its_reasons():
    tracker = StepTracker("optim_step", 10.0)
    tracker.enter("sending", 11.0)
    tracker.enter("sending", 12.0, "again")
    tracker.enter("backing off", 14.0)
    tracker.enter("sending", 15.0)
    tracker.enter("done", tracker.since)
    assert tracker.waits(18.0) == {"queued here": 1.0, "sending": 3.0 + 3.0, "backing off": 1.0}
    assert (tracker.reason, tracker.detail) == ("done", "")
