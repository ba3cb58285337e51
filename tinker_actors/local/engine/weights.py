"""Base weights by their Hugging Face names: which there are, what shape they have, and a seeded random set.

Names are the ones of `transformers`' Llama, Qwen2 and Qwen3, so that a downloaded folder and a random model are the
same kind of dict.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np

from tinker_actors.local.engine.arrays import Floats
from tinker_actors.local.engine.config import ModelConfig

EMBED = "model.embed_tokens.weight"
FINAL_NORM = "model.norm.weight"
UNEMBED = "lm_head.weight"


def layer_prefix(layer: int) -> str:
    """The start of the names of everything in one block."""
    return f"model.layers.{layer}."


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Every parameter that a model of this shape has, as name -> shape, matrices as [out, in]."""
    width, inner = config.hidden_size, config.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {EMBED: (config.vocab_size, width)}
    for layer in range(config.n_layers):
        prefix = layer_prefix(layer)
        attention = prefix + "self_attn."
        shapes[prefix + "input_layernorm.weight"] = (width,)
        for name, size in (("q_proj", config.q_size), ("k_proj", config.kv_size), ("v_proj", config.kv_size)):
            shapes[f"{attention}{name}.weight"] = (size, width)
            if config.attention_bias:
                shapes[f"{attention}{name}.bias"] = (size,)
        shapes[attention + "o_proj.weight"] = (width, config.q_size)
        if config.qk_norm:
            shapes[attention + "q_norm.weight"] = (config.head_dim,)
            shapes[attention + "k_norm.weight"] = (config.head_dim,)
        shapes[prefix + "post_attention_layernorm.weight"] = (width,)
        shapes[prefix + "mlp.gate_proj.weight"] = (inner, width)
        shapes[prefix + "mlp.up_proj.weight"] = (inner, width)
        shapes[prefix + "mlp.down_proj.weight"] = (width, inner)
    shapes[FINAL_NORM] = (width,)
    if not config.tie_embeddings:
        shapes[UNEMBED] = (config.vocab_size, width)
    return shapes


def check_weights(config: ModelConfig, weights: dict[str, Floats]) -> None:
    """Check that exactly the expected parameters are there, in their shapes.

    Raises:
        ValueError: A parameter is missing, unknown or misshapen; the message names it.
    """
    shapes = parameter_shapes(config)
    if missing := sorted(shapes.keys() - weights.keys()):
        raise ValueError(f"weights lack {', '.join(missing)}")
    if unknown := sorted(weights.keys() - shapes.keys()):
        raise ValueError(f"weights have parameters that the model does not: {', '.join(unknown)}")
    for name, shape in shapes.items():
        if weights[name].shape != shape:
            raise ValueError(f"{name} has shape {weights[name].shape}, the model needs {shape}")


def named_generator(seed: int, name: str) -> np.random.Generator:
    """A generator that depends on the seed and a name only, not on what was drawn for other names.

    Negative seeds are taken modulo 2**64, because numpy's seed sequence takes none.
    """
    digest = hashlib.sha256(name.encode()).digest()
    words = [int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4)]
    return np.random.default_rng([seed % 2**64, *words])


def random_weights(
    config: ModelConfig, seed: int, *, embed_std: float = 1.0, gain: float = 1.0, unembed_gain: float = 1.0
) -> dict[str, Floats]:
    """Draw base weights, each from its own generator; float32.

    Args:
        config: Shape of the model.
        seed: Same seed, same bits.
        embed_std: Standard deviation of the embedding.
        gain: Projections get a standard deviation of gain / sqrt(fan_in), which keeps the variance of their input.
        unembed_gain: The same for the unembedding, if it is not tied.

    Returns:
        Name -> array. Norms are ones, biases small normals (standard deviation 0.02).
    """
    weights: dict[str, Floats] = {}
    for name, shape in parameter_shapes(config).items():
        if name.endswith("norm.weight"):
            weights[name] = np.ones(shape, np.float32)
            continue
        if name == EMBED:
            std = embed_std
        elif name.endswith(".bias"):
            std = 0.02
        else:
            std = (unembed_gain if name == UNEMBED else gain) / math.sqrt(shape[1])
        weights[name] = (named_generator(seed, name).standard_normal(shape) * std).astype(np.float32)
    return weights
