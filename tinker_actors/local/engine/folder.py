"""Base models from a folder in Hugging Face layout: `config.json`, `*.safetensors`, `tokenizer.json`.

What the engine does not compute exactly is refused by name, so that no model runs with a part of it ignored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tinker_actors.local.engine.arrays import Floats
from tinker_actors.local.engine.base import BaseModel
from tinker_actors.local.engine.config import ModelConfig
from tinker_actors.local.engine.hf_config import model_config
from tinker_actors.local.engine.tensors import read_tensors
from tinker_actors.local.engine.weights import UNEMBED

_INDEX = "model.safetensors.index.json"
_WHOLE = "model.safetensors"
_DERIVED = ".rotary_emb.inv_freq"
"""End of the name of a table that old folders hold; it follows from the configuration."""


def load_base(path: Path | str, name: str) -> BaseModel:
    """Load a base model, in float32.

    Args:
        path: The folder.
        name: What the model is called in requests; adapters saved from it bear this name.

    Raises:
        FileNotFoundError: A file is missing; the message names it.
        ValueError: The architecture, a setting or a file is not one that can be used, or an array is missing, unknown
            or misshapen; the message names it.
    """
    folder = Path(path)
    config = load_config(folder)
    return BaseModel(config, _weights(folder, config), name=name)


def load_config(path: Path | str) -> ModelConfig:
    """Read the shape of the model in a folder.

    The end-of-sequence tokens are those of `generation_config.json`, where there is one that has them: chat models list
    more there than in `config.json`.

    Raises:
        FileNotFoundError: There is no `config.json`.
        ValueError: The model is not one that can be used.
    """
    folder = Path(path)
    given = _read_json(folder / "config.json")
    generation = folder / "generation_config.json"
    if generation.is_file() and (eos := _read_json(generation).get("eos_token_id")) is not None:
        given["eos_token_id"] = eos
    return model_config(given)


def tokenizer_file(path: Path | str) -> Path | None:
    """The tokenizer's file in a folder, for the `tokenizers` library; None if there is none."""
    file = Path(path) / "tokenizer.json"
    return file if file.is_file() else None


def _weights(folder: Path, config: ModelConfig) -> dict[str, Floats]:
    weights: dict[str, Floats] = {}
    for file in _weight_files(folder):
        found = read_tensors(file)
        if twice := sorted(weights.keys() & found.keys()):
            raise ValueError(f"{file} has arrays that another file of the folder has too: {', '.join(twice)}")
        weights |= found
    if config.tie_embeddings:
        weights.pop(UNEMBED, None)  # some folders hold the embedding under this name too
    return {name: array for name, array in weights.items() if not name.endswith(_DERIVED)}


def _weight_files(folder: Path) -> Iterable[Path]:
    index = folder / _INDEX
    if index.is_file():
        table = _read_json(index).get("weight_map")
        if not isinstance(table, dict):
            raise ValueError(f"{index} has no weight_map")
        names = sorted({str(name) for name in table.values()})
        if outside := [name for name in names if Path(name).name != name]:
            raise ValueError(f"{index} names what is no file of its folder: {outside[0][:200]!r}")
        files = [folder / name for name in names]
        if missing := [str(file) for file in files if not file.is_file()]:
            raise FileNotFoundError(f"{index} names files that are not there: {', '.join(missing)}")
        return files
    if (folder / _WHOLE).is_file():
        return [folder / _WHOLE]
    if files := sorted(folder.glob("*.safetensors")):
        return files
    other = ", ".join(sorted(file.name for file in folder.glob("*.bin")))
    hint = f"; {other} would have to be converted" if other else ""
    raise FileNotFoundError(f"{folder} has no {_WHOLE}, no {_INDEX} and no other *.safetensors{hint}")


def _read_json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds no table")  # noqa: TRY004 - input, not a bug
    return content
