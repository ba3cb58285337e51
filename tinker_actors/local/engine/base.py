"""A frozen base model: its weights arranged for the matrix products that use them.

Projections that share an input (q, k and v; gate and up) lie in one matrix, so that each pair of products is one.
The dict by name holds views of those, not copies.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from tinker_actors.local.engine.arrays import Floats, Ints, frozen, keep_freed_memory
from tinker_actors.local.engine.config import ModelConfig
from tinker_actors.local.engine.weights import EMBED, FINAL_NORM, UNEMBED, check_weights, layer_prefix

Rotation = tuple[Floats, Floats]
"""Cosines and sines of the rotary angles, each [tokens, 1, head_dim]."""


class LayerWeights(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """The frozen weights of one block; matrices are [out, in].

    Attributes:
        attention_norm: [width], RMSNorm before attention.
        qkv: [q_size + 2 * kv_size, width]; rows of q, then k, then v.
        qkv_bias: [q_size + 2 * kv_size], or None.
        q_norm: [head_dim], or None.
        k_norm: [head_dim], or None.
        o: [width, q_size].
        mlp_norm: [width], RMSNorm before the MLP.
        gate_up: [2 * intermediate, width]; rows of gate, then up.
        down: [width, intermediate].
    """

    attention_norm: Floats
    qkv: Floats
    qkv_bias: Floats | None
    q_norm: Floats | None
    k_norm: Floats | None
    o: Floats
    mlp_norm: Floats
    gate_up: Floats
    down: Floats


class BaseModel:
    """A base model: configuration and frozen weights. Immutable, so any number of threads may use one.

    Attributes:
        config: Shape of the model.
        name: What it is called.
        weights: Hugging Face name -> read-only array.
        layers: The same weights, arranged by block.
        embed: [vocab, width].
        final_norm: [width].
        unembed: [vocab, width]; the embedding itself where they are tied.
        rope_cos: [context_length, head_dim], cosines of the rotary angles by position, once for each half.
        rope_sin: The same for sines, negative in the first half; see `layers.rotate`.

    Args:
        config: Shape of the model.
        weights: Hugging Face name -> array; see `parameter_shapes`. Copied.
        dtype: Precision of every computation with this model; float32, or float64 to check gradients.
        name: What it is called.

    Raises:
        ValueError: A weight is missing, unknown or misshapen.
    """

    def __init__(
        self, config: ModelConfig, weights: dict[str, Floats], dtype: npt.DTypeLike = np.float32, name: str = ""
    ) -> None:
        check_weights(config, weights)
        keep_freed_memory()
        self.config = config
        self.name = name
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        named: dict[str, Floats] = {}

        def stack(*names: str) -> Floats:
            joined = frozen(np.concatenate([weights[each] for each in names], dtype=self.dtype))
            start = 0
            for each in names:
                named[each] = joined[start : start + len(weights[each])]
                start += len(weights[each])
            return joined

        self.embed = stack(EMBED)
        self.layers = tuple(_layer(config, layer_prefix(i), stack) for i in range(config.n_layers))
        self.final_norm = stack(FINAL_NORM)
        self.unembed = self.embed if config.tie_embeddings else stack(UNEMBED)
        self.weights = named
        self.rope_cos, self.rope_sin = _rope_tables(config, self.dtype)

    def rotation(self, positions: Ints) -> Rotation:
        """Cosines and sines for tokens at these positions, as `layers.rotate` takes them."""
        return self.rope_cos[positions][:, None, :], self.rope_sin[positions][:, None, :]

    def __repr__(self) -> str:
        count = sum(array.size for array in self.weights.values())
        shape = f"{self.config.n_layers} layers, width {self.config.hidden_size}, {count} parameters"
        return f"<BaseModel {self.name!r}: {shape}>"


def _layer(config: ModelConfig, prefix: str, stack: Any) -> LayerWeights:
    attention, mlp = prefix + "self_attn.", prefix + "mlp."
    qkv = [f"{attention}{name}_proj" for name in "qkv"]
    return LayerWeights(
        attention_norm=stack(prefix + "input_layernorm.weight"),
        qkv=stack(*(name + ".weight" for name in qkv)),
        qkv_bias=stack(*(name + ".bias" for name in qkv)) if config.attention_bias else None,
        q_norm=stack(attention + "q_norm.weight") if config.qk_norm else None,
        k_norm=stack(attention + "k_norm.weight") if config.qk_norm else None,
        o=stack(attention + "o_proj.weight"),
        mlp_norm=stack(prefix + "post_attention_layernorm.weight"),
        gate_up=stack(mlp + "gate_proj.weight", mlp + "up_proj.weight"),
        down=stack(mlp + "down_proj.weight"),
    )


def _rope_tables(config: ModelConfig, dtype: np.dtype[Any]) -> tuple[Floats, Floats]:
    """Cosines and sines of position * theta**(-2i / head_dim), as in RoFormer (Su et al. 2021)."""
    frequencies = config.rope_theta ** (-np.arange(0, config.head_dim, 2) / config.head_dim)
    angles = np.arange(config.context_length)[:, None] * frequencies[None, :]
    cos, sin = np.cos(angles), np.sin(angles)
    return (
        frozen(np.concatenate([cos, cos], axis=1).astype(dtype)),
        frozen(np.concatenate([-sin, sin], axis=1).astype(dtype)),
    )
