"""Samplers: weights of many checkpoints, of which the ones used last are in memory."""

from __future__ import annotations

from types import SimpleNamespace

from tinker_actors.local.core.samples import samplers
from tinker_actors.local.core.samples.samplers import Weights


class Source:
    """An engine and a store of checkpoints that notes what it was asked for."""

    def __init__(self):
        self.read_paths = []

    def read(self, path):
        self.read_paths.append(path)
        return SimpleNamespace(meta=meta(path), adapter=path)

    def weights(self, _base_model, _lora, adapter):
        return f"weights of {adapter}"


def meta(path):
    return SimpleNamespace(uid=path, path=path, base_model="base", lora=None)


def test_weights_that_were_used_long_ago_are_read_again():
    source = Source()
    weights = Weights(source, source)
    refs = [weights.of_checkpoint(meta(str(number))) for number in range(samplers._KEPT + 1)]
    for ref in refs[:-1]:
        weights.load(ref)
    weights.load(refs[0])  # so that another one is the oldest
    assert weights.load(refs[-1]) == f"weights of {samplers._KEPT}"
    assert [number for number, ref in enumerate(refs) if ref.value is None] == [1]
    assert weights.load(refs[1]) == "weights of 1"
    assert source.read_paths.count("1") == 2
    assert sum(ref.value is not None for ref in refs) == samplers._KEPT


def test_weights_that_nobody_has_any_more_are_not_kept():
    source = Source()
    weights = Weights(source, source)
    weights.load(weights.of_checkpoint(meta("a")))
    assert not weights._recent
