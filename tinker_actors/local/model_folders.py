"""Model folders: base models in Hugging Face layout, `config.json` and `*.safetensors`, for the numpy engine.

What the engine does not compute exactly is refused by name, so that no model is served with a part of it ignored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinker_actors.errors import ConfigError
from tinker_actors.local.core.ports import Arrays
from tinker_actors.local.engine.base import BaseModel
from tinker_actors.local.engine.config import ModelConfig
from tinker_actors.local.engine.weights import UNEMBED
from tinker_actors.local.numpy_engine import ServedModel
from tinker_actors.local.store.tensor_files import read_weights

ARCHITECTURES = ("llama", "qwen2", "qwen3")
"""The values of `model_type` that can be served."""

_DERIVED = ".rotary_emb.inv_freq"  # old folders hold this table; it follows from the configuration


def load_model_folders(folders: Mapping[str, Path]) -> dict[str, ServedModel]:
    """Load base models.

    Args:
        folders: name -> folder.

    Raises:
        ConfigError: one of them can't be served; the message names it and says why.
    """
    loaded = {}
    for name, folder in folders.items():
        try:
            loaded[name] = load_model_folder(folder)
        except (OSError, ValueError, KeyError, TypeError) as error:
            what = f"config.json lacks {error}" if isinstance(error, KeyError) else str(error)
            raise ConfigError(f"The model {name!r} can't be served from {folder}: {what}") from error
    return loaded


def load_model_folder(folder: Path) -> ServedModel:
    """Load one base model.

    Raises:
        OSError: a file is missing.
        ValueError: the architecture or a file is not one that can be served.
        KeyError: the configuration lacks a size.
    """
    given: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config = model_config(given)
    weights: Arrays = {}
    for path in sorted(folder.glob("*.safetensors")):
        weights |= read_weights(path)
    kept = {name: values for name, values in weights.items() if not name.endswith(_DERIVED)}
    if config.tie_embeddings:
        kept.pop(UNEMBED, None)  # some folders hold the embedding twice
    return ServedModel(BaseModel(config, kept), arch=given["model_type"])


def model_config(given: Mapping[str, Any]) -> ModelConfig:
    """Return the shape of a model from its `config.json`.

    Raises:
        ValueError: it is not one that can be served.
        KeyError: a size is missing.
    """
    kind = given["model_type"]
    if kind not in ARCHITECTURES:
        raise ValueError(f"model_type is {kind!r}; this server has {', '.join(ARCHITECTURES)}")
    rope = given.get("rope_parameters") or {}
    _refuse_what_would_be_ignored(given, rope)
    heads = given["num_attention_heads"]
    return ModelConfig(
        vocab_size=given["vocab_size"],
        hidden_size=given["hidden_size"],
        n_layers=given["num_hidden_layers"],
        n_heads=heads,
        n_kv_heads=given.get("num_key_value_heads") or heads,
        head_dim=given.get("head_dim") or given["hidden_size"] // heads,
        intermediate_size=given["intermediate_size"],
        context_length=given["max_position_embeddings"],
        rope_theta=given.get("rope_theta") or rope.get("rope_theta") or 10_000.0,
        rms_eps=given.get("rms_norm_eps", 1e-6),
        attention_bias=kind == "qwen2",
        qk_norm=kind == "qwen3",
        tie_embeddings=bool(given.get("tie_word_embeddings")),
        eos_token_ids=_token_ids(given.get("eos_token_id")),
    )


def _refuse_what_would_be_ignored(given: Mapping[str, Any], rope: Mapping[str, Any]) -> None:
    scaling = given.get("rope_scaling") or rope
    scaled = scaling.get("rope_type", scaling.get("type", "default")) != "default"
    problems = {
        "scaled rotary embeddings": scaled,
        "biases beside those of qwen2": bool(given.get("attention_bias")) or bool(given.get("mlp_bias")),
        "sliding-window attention": bool(given.get("use_sliding_window")),
        f"the activation {given.get('hidden_act')}": given.get("hidden_act", "silu") != "silu",
    }
    found = [name for name, there in problems.items() if there]
    if found:
        raise ValueError(f"it has {', '.join(found)}, which this server does not compute")


def _token_ids(given: int | list[int] | None) -> tuple[int, ...]:
    if given is None:
        return ()
    return (given,) if isinstance(given, int) else tuple(given)
