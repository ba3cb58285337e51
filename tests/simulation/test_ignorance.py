"""Programs that fail here and there and look at some of it: only what was called knowingly is applied."""

from __future__ import annotations

import random

import pytest

import tinker_actors as ta
from tinker_actors.testing import Mishaps, Simulation

CALLS = ["good", "good", "good", "fails", "refused", "in-part", "step", "step", "save", "forward"]


def datum(first, **more):
    ids = [first, first + 1, first + 2]
    return ta.Datum(ta.ModelInput.from_ints(ids), {"target_tokens": ids, "weights": [1.0] * 3, **more})


def call(trainer, kind, number):
    data = [datum(10 * number + index) for index in range(number % 2 + 1)]
    if kind == "fails":
        return trainer.forward_backward([datum(5000)], "cross_entropy")
    if kind == "in-part":
        return trainer.forward_backward([*data, datum(5000), datum(7)], "cross_entropy")
    if kind == "refused":  # the wire knows this loss, the ledger does not
        values = {"target_tokens": [2], "logprobs": [-1.0], "advantages": [1.0], "sequence_ratio_mask": [1.0]}
        return trainer.forward_backward([ta.Datum(ta.ModelInput.from_ints([1]), values)], "gspo")
    if kind == "step":
        return trainer.optim_step()
    if kind == "save":
        return trainer.save_state(f"s{number}")
    return (trainer.forward if kind == "forward" else trainer.forward_backward)(data, "cross_entropy")


def is_fault(future):
    return (
        future.done() and future._failure() is not None and type(future._failure()) is not ta.PrecedingOperationFailed
    )


@pytest.mark.parametrize("first", range(0, 24, 8))
def test_an_operation_is_applied_exactly_if_it_was_called_knowing_what_had_failed(first):
    for seed in range(first, first + 8):
        chance = random.Random(seed)
        simulation = Simulation(seed, Mishaps(), creation_timeout=1000.0, max_chunk_len=1)
        service = simulation.service()
        trainer = service.create_lora_training_client("local/ledger", rank=4, seed=1)
        called, told = [], []  # told[n]: the operations whose failure the caller of the nth had been told of
        known = set()
        for number in range(25):
            kind = chance.choice(CALLS)
            told.append(set(known))
            called.append((kind, call(trainer, kind, number)))
            if chance.random() < 0.3:
                simulation.wait_for(*[future for _, future in called])
            if chance.random() < 0.5:
                faults = [index for index, (_, future) in enumerate(called) if is_fault(future)]
                for index in chance.sample(faults, len(faults) // 2 + len(faults) % 2):
                    assert called[index][1].exception(0) is not None
                    known.add(index)
        simulation.wait_for(*[future for _, future in called])
        faults = {
            index for index, (kind, future) in enumerate(called) if is_fault(future) and kind not in ("save", "forward")
        }
        for index, (kind, future) in enumerate(called):
            ignorant = any(fault < index and fault not in told[index] for fault in faults)
            error = future.exception(0)
            where = f"seed {seed}: {kind} at {index}: {error}"
            if ignorant:
                assert error is not None, where
            elif kind not in ("fails", "refused", "in-part"):
                assert error is None, where
            else:
                assert type(error) is not ta.PrecedingOperationFailed, where
        simulation.close(service)
