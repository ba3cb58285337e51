"""The engine's benchmark refuses to compare what is not comparable; it runs where there is a peer."""

from __future__ import annotations

import copy
import sys

import pytest

from benchmarks import targets
from benchmarks.engines.ours import Ours
from benchmarks.engines.task import CHECKED_TOKENS, NEW_TOKENS, Task, measure
from benchmarks.processes import RunFailedError
from benchmarks.scenarios import engine, engine_beside
from tinker_actors.local.engine.tiny import tiny_base


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """What our engine says in the smallest run there is."""
    weights = tmp_path_factory.mktemp("engine") / "weights.npz"
    engine.np.savez(weights, **tiny_base().weights)
    task = Task(str(weights), engine._config(), 2, 2, 8, [1], 0.0, [], 1)
    return measure(task, Ours(task))


def test_ours_is_measured_in_training_and_sampling(ours):
    assert set(ours["rates"]) == {"train", "sample 1"}
    assert [len(row) for row in ours["greedy"]] == [CHECKED_TOKENS] * 1
    assert NEW_TOKENS > CHECKED_TOKENS
    assert ours["described"]["engine"].startswith("tinker_actors.")


def test_a_peer_with_another_model_is_refused(ours):
    peer = {**copy.deepcopy(ours), "described": {"engine": "transformers.x"}}
    engine._check_same_model({engine.OURS: ours, "peer": peer})
    for change in ({"greedy": []}, {"loss": 2 * ours["loss"]}, {"described": {"engine": "tinker_actors.y"}}):
        with pytest.raises(RunFailedError, match="peer"):
            engine._check_same_model({engine.OURS: ours, "peer": {**peer, **change}})


def test_without_a_peer_it_says_what_is_missing():
    assert not engine.peer_is_there("/nowhere/python")
    with pytest.raises(RunFailedError, match="--peer-python"):
        engine.run(engine.Settings(peer_python="/nowhere/python"), print)


def test_the_ratio_is_that_of_the_best_peer_and_the_marks_are_kept():
    def one(**rates):
        return {"rates": {"train": rates["train"], "sample 1": rates["sample"]}}

    rounds = [
        {engine.OURS: one(train=6, sample=9), "a": one(train=10, sample=3), "b": one(train=8, sample=10)},
        {engine.OURS: one(train=4, sample=9), "a": one(train=10, sample=3), "b": one(train=8, sample=10)},
        {engine.OURS: one(train=4, sample=9), "a": one(train=2, sample=3), "b": one(train=10, sample=10)},
    ]
    summary = engine.summarize(rounds)
    assert summary["train"]["ratio"] == {"median": 0.4, "min": 0.4, "max": 0.6}
    report = {"summary": summary, "rounds": rounds}
    said = targets.missed("engine", engine_beside.values(report))
    assert [sentence.split(":")[1].split(",")[0] for sentence in said] == [
        " training tokens a second",
        " tokens a second",
    ]
    assert "0.90 (0.90..0.90)" in engine.table(report)


@pytest.mark.skipif(not engine.peer_is_there(sys.executable), reason="needs torch and transformers")
def test_both_have_the_same_model():
    report = engine.run(engine.Settings(rounds=1, seconds=0.01, levels=(1,)), print)
    assert set(report["summary"]) == {"train", "sample 1"}
