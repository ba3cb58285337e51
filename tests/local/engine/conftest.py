"""Small models and data for the engine's tests."""

from __future__ import annotations

import numpy as np
import pytest

from tinker_actors.local.engine.base import BaseModel
from tinker_actors.local.engine.config import ModelConfig
from tinker_actors.local.engine.data import Datum
from tinker_actors.local.engine.lora import LORA_ALPHA, LoraSpec
from tinker_actors.local.engine.model import LoraModel
from tinker_actors.local.engine.weights import random_weights

SMALL = {
    "vocab_size": 17,
    "hidden_size": 12,
    "n_layers": 2,
    "n_heads": 4,
    "n_kv_heads": 2,
    "head_dim": 4,
    "intermediate_size": 10,
    "context_length": 32,
}


@pytest.fixture
def make_base():
    """A small base model; norms and biases are random too, so that nothing is hidden by a one or a zero."""

    def make(dtype=np.float64, **flags) -> BaseModel:
        config = ModelConfig(**{**SMALL, **flags})
        weights = random_weights(config, seed=3)
        rng = np.random.default_rng(4)
        for name, array in weights.items():
            if name.endswith(("norm.weight", ".bias")):
                weights[name] = (array + 0.3 * rng.standard_normal(array.shape)).astype(np.float32)
        return BaseModel(config, weights, dtype)

    return make


@pytest.fixture
def make_model(make_base):
    """A LoRA model whose B matrices are no longer zero."""

    def make(base: BaseModel | None = None, *, activation_bytes=2**29, **spec) -> LoraModel:
        base = base or make_base()
        model = LoraModel(base, LoraSpec(**{"rank": 4, "seed": 1, **spec}), activation_bytes=activation_bytes)
        rng = np.random.default_rng(2)
        # So that scaling * B A has entries of about 0.1 whatever the rank.
        size = (0.1 * model.spec.rank**0.5 / LORA_ALPHA) ** 0.5
        arrays = {name: size * rng.standard_normal(array.shape) for name, array in model.state().adapter.items()}
        model.load_state(arrays)
        return model

    return make


@pytest.fixture
def make_data():
    """Sequences of different lengths with the inputs of a loss."""

    def make(loss: str = "cross_entropy", lengths=(5, 1, 9, 3), seed: int = 0, vocab: int = 17) -> list[Datum]:
        rng = np.random.default_rng(seed)
        data = []
        for n in lengths:
            if loss == "cross_entropy":
                inputs = {"weights": rng.uniform(0.2, 1.5, n)}
            else:
                inputs = {"logprobs": -rng.uniform(1.5, 4.5, n), "advantages": rng.standard_normal(n)}
            inputs = {name: values.astype(np.float32) for name, values in inputs.items()}
            data.append(Datum(rng.integers(0, vocab, n), rng.integers(0, vocab, n), inputs))
        return data

    return make
