"""From a Hugging Face `config.json` to the shape of a model.

Field names and defaults are those of `transformers`, whose older and newer releases write rotary settings differently.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinker_actors.local.engine.config import ModelConfig

ARCHITECTURES = {"LlamaForCausalLM": "llama", "Qwen2ForCausalLM": "qwen2", "Qwen3ForCausalLM": "qwen3"}
"""What can be computed: the name in `architectures` -> the `model_type`."""

_SIZES = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "context_length": "max_position_embeddings",
}
"""Field of `ModelConfig` -> key that `config.json` must have."""


def model_config(given: Mapping[str, Any]) -> ModelConfig:
    """The shape of a model from the content of its `config.json`.

    Raises:
        ValueError: The architecture is not supported, something about it is not computed here, or a size is missing;
            the message names it.
    """
    kind = _kind(given)
    theta, rope_problems = _rope(given)
    if problems := [*_problems(given), *rope_problems]:
        raise ValueError(f"config.json asks for {', '.join(problems)}, which is not computed here")
    if missing := [key for key in (*_SIZES.values(),) if given.get(key) is None]:
        raise ValueError(f"config.json lacks {', '.join(missing)}")
    sizes = {field: _whole(given, key) for field, key in _SIZES.items()}
    heads = sizes["n_heads"]
    return ModelConfig(
        **sizes,
        n_kv_heads=_whole(given, "num_key_value_heads") if given.get("num_key_value_heads") is not None else heads,
        head_dim=_whole(given, "head_dim") if given.get("head_dim") is not None else sizes["hidden_size"] // heads,
        rope_theta=theta,
        rms_eps=float(given.get("rms_norm_eps", 1e-6)),
        attention_bias=kind == "qwen2",
        qk_norm=kind == "qwen3",
        tie_embeddings=bool(given.get("tie_word_embeddings", False)),
        eos_token_ids=_token_ids(given.get("eos_token_id")),
    )


def _kind(given: Mapping[str, Any]) -> str:
    """The supported `model_type` that a model is of."""
    named = given.get("architectures") or []
    kind = given.get("model_type")
    if not named and kind in ARCHITECTURES.values():
        return str(kind)
    if len(named) == 1 and named[0] in ARCHITECTURES:
        return ARCHITECTURES[named[0]]
    what = ", ".join(map(str, named)) or f"of model_type {kind!r}"
    raise ValueError(f"the architecture {what} is not supported; supported are {', '.join(ARCHITECTURES)}")


def _rope(given: Mapping[str, Any]) -> tuple[float, list[str]]:
    """The base of the rotary frequencies, and what about them is not computed here.

    Old folders have `rope_theta` beside `rope_scaling`, newer ones one table `rope_parameters`.
    """
    table: dict[str, Any] = {**(given.get("rope_scaling") or {}), **(given.get("rope_parameters") or {})}
    problems = []
    kind = table.get("rope_type", table.get("type", "default"))
    if kind != "default":
        problems.append(f"rotary embeddings of type {kind!r}")
    if any(isinstance(value, dict) for value in table.values()):
        problems.append("rotary embeddings that differ by layer")
    fraction = table.get("partial_rotary_factor", given.get("partial_rotary_factor"))
    if fraction not in (None, 1.0):
        problems.append(f"partial_rotary_factor {fraction}")
    theta = table.get("rope_theta", given.get("rope_theta"))
    return float(10_000.0 if theta is None else theta), problems


def _problems(given: Mapping[str, Any]) -> list[str]:
    """What else about a model is not computed here."""
    activation = given.get("hidden_act", "silu")
    found = {
        f"the activation {activation!r}": activation not in ("silu", "swish"),
        "attention_bias": bool(given.get("attention_bias")),
        "mlp_bias": bool(given.get("mlp_bias")),
        "sliding-window attention": _slides(given),
        "quantized weights": given.get("quantization_config") is not None,
    }
    return [name for name, there in found.items() if there]


def _slides(given: Mapping[str, Any]) -> bool:
    """Whether a layer attends to a window only; the list by layer, where there is one, is what `transformers` obeys."""
    kinds = given.get("layer_types")
    if kinds is not None:
        return any(kind != "full_attention" for kind in kinds)
    return bool(given.get("use_sliding_window")) and given.get("sliding_window") is not None


def _whole(given: Mapping[str, Any], key: str) -> int:
    value = given[key]
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"config.json: {key} must be a whole number, got {value!r}")  # noqa: TRY004 - input, not a bug
    return value


def _token_ids(given: Any) -> tuple[int, ...]:
    if given is None:
        return ()
    found = given if isinstance(given, list) else [given]
    if any(isinstance(token, bool) or not isinstance(token, int) for token in found):
        raise ValueError(f"eos_token_id must be a token or a list of tokens, got {given!r}")
    return tuple(found)
