"""Stand-ins: small random models under the names of hosted base models, with the vocabulary sizes of those.

A program that names a hosted model, and whose tokens come from that model's tokenizer, then runs against the embedded
server as it is. What a stand-in says means nothing; what it learns, it learns in earnest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tinker_actors.errors import ConfigError
from tinker_actors.local.engine.base import BaseModel
from tinker_actors.local.engine.config import ModelConfig
from tinker_actors.local.engine.weights import random_weights

ARCH = "stand-in"

_SEED = 0
_CONTEXT_LENGTH = 32_768  # what the service gives its models; long enough for the configurations of real programs


class Family(NamedTuple):
    """Models with one vocabulary. With one tokenizer, larger models may have a larger one: it is filled up differently.

    Attributes:
        names: a pattern for their whole names.
        vocab_size: `vocab_size` of their published `config.json`.
        eos: the tokens that end an answer.
    """

    names: str
    vocab_size: int
    eos: tuple[int, ...]


FAMILIES = (
    Family(r"Qwen/Qwen3-.*", 151_936, (151_645, 151_643)),
    Family(r"Qwen/Qwen2(\.5)?-(\w+-)?(0\.5B|1\.5B|3B|57B-A14B)(-.*)?", 151_936, (151_645, 151_643)),
    Family(r"Qwen/Qwen2(\.5)?-(\w+-)?(7B|14B|32B|72B)(-.*)?", 152_064, (151_645, 151_643)),
    Family(r"meta-llama/(Meta-)?Llama-3(\.[123])?-\d+B(-Instruct)?", 128_256, (128_009, 128_001)),
    Family(r"deepseek-ai/DeepSeek-V3.*", 129_280, (1,)),
    Family(r"openai/gpt-oss-.*", 201_088, (200_002, 199_999)),
    Family(r"moonshotai/Kimi-K2.*", 163_840, (163_586,)),
)
"""The models whose vocabulary is known here."""


def vocab_sizes(stand_ins: Mapping[str, int | None], taken: Iterable[str]) -> dict[str, int]:
    """Return the vocabulary size of each stand-in, from its family where none is given.

    Args:
        stand_ins: name -> size, or None.
        taken: names that other models have.

    Raises:
        ConfigError: a size is neither given nor known, or a name has a model already.
    """
    if both := sorted(set(stand_ins) & set(taken)):
        raise ConfigError(f"{', '.join(both)} can't be a model and its stand-in at once.")
    return {name: _known_size(name) if given is None else given for name, given in stand_ins.items()}


def stand_in(name: str, vocab_size: int) -> BaseModel:
    """Make a stand-in; the same bits every time. Takes a fraction of a second.

    It is narrow, because with a large vocabulary the width hardly matters for what it can learn and much for its cost.
    """
    family = _family(name)
    config = ModelConfig(
        vocab_size=vocab_size,
        hidden_size=16,
        n_layers=2,
        n_heads=2,
        n_kv_heads=1,
        head_dim=8,
        intermediate_size=32,
        context_length=_CONTEXT_LENGTH,
        eos_token_ids=tuple(token for token in family.eos if token < vocab_size) if family is not None else (),
    )
    return BaseModel(config, random_weights(config, _SEED), name=name)


def _known_size(name: str) -> int:
    family = _family(name)
    if family is None:
        raise ConfigError(
            f"How many tokens {name!r} has is not known here.",
            advice=f"Say it: {name},vocab=N. It is vocab_size in the model's config.json.",
        )
    return family.vocab_size


def _family(name: str) -> Family | None:
    return next((family for family in FAMILIES if re.fullmatch(family.names, name)), None)
