"""The engine's numbers against those of PyTorch, from files that `tests/peers/make_goldens.py` wrote."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tinker_actors.local.engine.adamw import AdamParams
from tinker_actors.local.engine.base import BaseModel
from tinker_actors.local.engine.data import Datum
from tinker_actors.local.engine.hf_config import model_config
from tinker_actors.local.engine.lora import LoraSpec
from tinker_actors.local.engine.model import LoraModel
from tinker_actors.local.engine.sampler import sample
from tinker_actors.local.engine.sampling import SampleRequest
from tinker_actors.local.engine.weights import parameter_shapes

FOLDER = Path(__file__).parent / "goldens"
CASES = ("cross_entropy", "cross_entropy_many", "importance_sampling", "ppo", "cispo", "cispo_narrow", "dro")


def parts(flat, shapes):
    """Cut one array into those of the given names and shapes, which lie in it in the order of their names."""
    names = sorted(shapes)
    ends = np.cumsum([int(np.prod(shapes[name])) for name in names])
    assert ends[-1] == len(flat)
    pieces = np.split(flat, ends[:-1])
    return {name: piece.reshape(shapes[name]) for name, piece in zip(names, pieces, strict=True)}


class Golden:
    """One file: PyTorch's results, and the engine's model with the same weights."""

    def __init__(self, kind, dtype=np.float32):
        with np.load(FOLDER / f"{kind}.npz") as content:
            self.content = dict(content)
        config = model_config(self.json("config"))
        assert config.arch == kind
        base = BaseModel(config, parts(self.content["weights"], parameter_shapes(config)), dtype)
        self.model = LoraModel(base, LoraSpec(rank=2))
        self.shapes = {name: array.shape for name, array in self.model.state().adapter.items()}
        self.model.load_state(parts(self.content["adapter"], self.shapes))

    def json(self, name):
        return json.loads(self.content[name].tobytes())

    def data(self, case):
        ends = np.cumsum(self.content[f"{case}/lengths"])[:-1]
        prefix = f"{case}/inputs/"
        columns = {key.removeprefix(prefix): array for key, array in self.content.items() if key.startswith(prefix)}
        split = {name: np.split(array, ends) for name, array in columns.items()}
        tokens, targets = (np.split(self.content[f"{case}/{name}"], ends) for name in ("tokens", "targets"))
        return [
            Datum(tokens[i], targets[i], {name: arrays[i] for name, arrays in split.items()})
            for i in range(len(tokens))
        ]


@pytest.fixture(params=["llama", "qwen2", "qwen3"])
def kind(request):
    return request.param


def test_the_files_are_small_and_cover_tied_and_untied_embeddings():
    files = sorted(FOLDER.glob("*.npz"))
    assert sum(file.stat().st_size for file in files) < 200_000
    assert {Golden(file.stem).model.base.config.tie_embeddings for file in files} == {True, False}


def test_logprobs_of_two_hundred_tokens_agree_in_training_and_in_sampling(kind):
    golden = Golden(kind)
    tokens, expected = golden.content["tokens"].astype(int), golden.content["logprobs"]
    assert len(tokens) == 200
    (found,) = golden.model.forward([Datum(tokens[:-1], tokens[1:])], "cross_entropy").logprobs
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    request = SampleRequest(prompt=tokens, max_tokens=1, prompt_logprobs=True)
    (result,) = sample(golden.model.base, golden.model.snapshot(), [request])
    np.testing.assert_allclose(result.prompt_logprobs[1:], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_losses_and_every_gradient_agree(kind, case):
    golden = Golden(kind)
    output = golden.model.forward_backward(golden.data(case), *golden.json(f"{case}/call"))
    assert output.metrics["loss:sum"] == pytest.approx(float(golden.content[f"{case}/loss"]), rel=1e-4)
    np.testing.assert_allclose(np.concatenate(output.logprobs), golden.content[f"{case}/logprobs"], rtol=0, atol=1e-4)
    found = golden.model.gradients()
    for name, expected in parts(golden.content[f"{case}/gradients"], golden.shapes).items():
        scale = np.abs(expected).max()
        assert scale > 0
        np.testing.assert_allclose(found[name] / scale, expected / scale, rtol=0, atol=1e-4, err_msg=name)


def test_twenty_steps_with_decay_and_clipping_agree(kind):
    """In float64, because Adam turns a rounding difference in a gradient near zero into a full step."""
    golden = Golden(kind, np.float64)
    settings, data = golden.json("training/settings"), golden.data("cross_entropy")
    norms = golden.content["training/norms"]
    assert settings["weight_decay"] > 0
    assert min(norms) < settings["grad_clip_norm"] < max(norms)
    assert len(norms) == 20
    for norm in norms:
        golden.model.forward_backward(data, "cross_entropy")
        metrics = golden.model.optim_step(AdamParams(**settings))
        assert metrics["grad_norm:mean"] == pytest.approx(norm, rel=1e-5)
    found = golden.model.state().adapter
    for name, expected in parts(golden.content["training/adapter"], golden.shapes).items():
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-5, err_msg=name)
