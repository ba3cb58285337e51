"""Peers are compared with in environments of their own; a test whose peer is not installed is not collected."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from tinker_actors.local.engine.batch import Packing
from tinker_actors.local.engine.data import Datum
from tinker_actors.local.engine.folder import load_base
from tinker_actors.local.engine.layers import linear
from tinker_actors.local.engine.lora import HEAD, LoraSpec
from tinker_actors.local.engine.model import LoraModel
from tinker_actors.local.engine.transformer import final_norm, hidden_states, no_tape, projections

HERE = Path(__file__).parent

SDKS = ("PEER_SDK_38", "PEER_SDK_15")
"""Where the environment names the Python interpreters that have the official SDK, 0.38 and 0.15."""

collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["test_engine_*.py"]
collect_ignore = [] if any(os.environ.get(name) for name in SDKS) else ["test_official_sdk.py"]


@pytest.fixture(scope="session")
def reference():
    """The module with everything that PyTorch computes."""
    sys.path.insert(0, str(HERE))
    import torch_reference

    return torch_reference


@pytest.fixture
def saved(reference, tmp_path):
    """A random model, in a folder as `transformers` saves it, and as the engine loads it."""

    def save(kind, *, tied, dtype=np.float32, shard="5GB", **sizes):
        model = reference.make_model(kind, tied=tied, **sizes)
        folder = tmp_path / f"{kind}-{tied}"
        model.save_pretrained(folder, max_shard_size=shard)
        base = load_base(folder, f"peer/{kind}")
        if base.dtype != dtype:
            base = type(base)(base.config, dict(base.weights), dtype, base.name)
        return model, base

    return save


@pytest.fixture
def engine_logits():
    """The engine's logits for sequences run together, each [tokens, vocab]."""

    def compute(base, sequences, groups=None):
        linears = projections(base, groups or {})
        packing = Packing([len(tokens) for tokens in sequences])
        x = hidden_states(base, linears, packing, np.concatenate(sequences), no_tape)
        logits, _ = linear(final_norm(base, x)[0], linears[HEAD, "unembed"])
        return np.split(logits, packing.starts[1:-1])

    return compute


@pytest.fixture
def random_adapter():
    """A LoRA model whose B matrices are no longer zero."""

    def make(base, *, rank=4, seed=2, **switches):
        model = LoraModel(base, LoraSpec(rank=rank, seed=1, **switches))
        rng = np.random.default_rng(seed)
        scale = {"A": 1.0, "B": 0.3 / 32 * rank**0.5}
        model.load_state(
            {
                name: (scale[name.split("lora_")[1][0]] / array.shape[1] ** 0.5 * rng.standard_normal(array.shape))
                for name, array in model.state().adapter.items()
            }
        )
        return model

    return make


@pytest.fixture
def as_datums():
    """The reference's data as the engine takes it."""
    return lambda data: [Datum(*datum) for datum in data]
