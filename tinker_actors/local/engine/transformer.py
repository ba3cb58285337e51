"""The forward pass: token ids to final hidden states, leaving behind what the backward pass or a cache needs.

One block serves training, prefill and decoding; they differ in the attention that is passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec
import numpy as np

from tinker_actors.local.engine.arrays import Floats, Ints
from tinker_actors.local.engine.attention import AttentionTape, causal_attention
from tinker_actors.local.engine.base import BaseModel, LayerWeights, Rotation
from tinker_actors.local.engine.batch import Packing
from tinker_actors.local.engine.config import ModelConfig
from tinker_actors.local.engine.layers import Linear, adapt, linear, rms_norm, rotate, swiglu
from tinker_actors.local.engine.lora import HEAD, Groups

T = TypeVar("T")

Attend = Callable[[Floats, Floats, Floats], tuple[Floats, T]]
"""(q, k, v), each [tokens, heads, head_dim] -> ([tokens, heads * head_dim], whatever it wants on the tape)."""


Linears = dict[tuple[int, str], Linear]
"""(layer, "qkv" | "o" | "gate_up" | "down") or (HEAD, "unembed") -> the projection in effect."""


def projections(base: BaseModel, groups: Groups, *, constant: bool = False) -> Linears:
    """All projections with an adapter in effect; to be made anew when the adapter's matrices have changed.

    Args:
        base: The base model.
        groups: The adapter's matrices; empty for none.
        constant: Whether the matrices stay as they are; see `adapt`.
    """
    linears: Linears = {}

    def adapted(layer: int, name: str, weight: Floats, bias: Floats | None = None) -> None:
        linears[layer, name] = adapt(weight, bias, groups.get((layer, name)), constant=constant)

    for layer, weights in enumerate(base.layers):
        adapted(layer, "qkv", weights.qkv, weights.qkv_bias)
        adapted(layer, "o", weights.o)
        adapted(layer, "gate_up", weights.gate_up)
        adapted(layer, "down", weights.down)
    adapted(HEAD, "unembed", base.unembed)
    return linears


class HeadNormTape(msgspec.Struct, frozen=True, eq=False):
    """q and k before their norms, as [tokens, heads, head_dim], and the factors that `rms_norm` returned."""

    q: Floats
    q_inverse: Floats
    k: Floats
    k_inverse: Floats


class LayerTape(msgspec.Struct, Generic[T], frozen=True, eq=False, kw_only=True):
    """What one block leaves for its backward; rows are tokens.

    Attributes:
        x: Residual stream that entered, [tokens, width].
        x_inverse: Factor of the first norm.
        normed: Input of q, k and v.
        qkv_inner: What `linear` returned beside their output; so the other `inner` fields.
        head_norm: Present with `qk_norm`.
        attention: What the attention put there.
        attended: Input of the o projection.
        o_inner: See above.
        middle: Residual stream behind attention.
        middle_inverse: Factor of the second norm.
        mlp_normed: Input of gate and up.
        gate_up_inner: See above.
        gate_up: Their output.
        sigmoid: Sigmoid of gate.
        activated: Input of the down projection.
        down_inner: See above.
    """

    x: Floats
    x_inverse: Floats
    normed: Floats
    qkv_inner: Floats | None
    head_norm: HeadNormTape | None
    attention: T
    attended: Floats
    o_inner: Floats | None
    middle: Floats
    middle_inverse: Floats
    mlp_normed: Floats
    gate_up_inner: Floats | None
    gate_up: Floats
    sigmoid: Floats
    activated: Floats
    down_inner: Floats | None


def block(
    base: BaseModel, layer: int, linears: Linears, x: Floats, *, rotation: Rotation, attend: Attend[T]
) -> tuple[Floats, LayerTape[T]]:
    """One transformer block.

    Args:
        base: The base model.
        layer: Number of the block.
        linears: The projections in effect.
        x: Residual stream, [tokens, width]; not changed.
        rotation: Rotary angles of the tokens.
        attend: The attention.

    Returns:
        The residual stream behind the block, and its tape.
    """
    config, weights = base.config, base.layers[layer]
    normed, x_inverse = rms_norm(x, weights.attention_norm, config.rms_eps)
    qkv, qkv_inner = linear(normed, linears[layer, "qkv"])
    q, k, v = split_heads(config, qkv)
    head_norm = None
    if weights.q_norm is not None and weights.k_norm is not None:
        q, k, head_norm = _norm_heads(config, weights, q, k)
    attended, attention = attend(rotate(q, *rotation), rotate(k, *rotation), v)
    o, o_inner = linear(attended, linears[layer, "o"])
    o += x
    mlp_normed, middle_inverse = rms_norm(o, weights.mlp_norm, config.rms_eps)
    gate_up, gate_up_inner = linear(mlp_normed, linears[layer, "gate_up"])
    activated, sigmoid = swiglu(gate_up)
    y, down_inner = linear(activated, linears[layer, "down"])
    y += o
    tape = LayerTape(
        x=x,
        x_inverse=x_inverse,
        normed=normed,
        qkv_inner=qkv_inner,
        head_norm=head_norm,
        attention=attention,
        attended=attended,
        o_inner=o_inner,
        middle=o,
        middle_inverse=middle_inverse,
        mlp_normed=mlp_normed,
        gate_up_inner=gate_up_inner,
        gate_up=gate_up,
        sigmoid=sigmoid,
        activated=activated,
        down_inner=down_inner,
    )
    return y, tape


def hidden_states(
    base: BaseModel,
    linears: Linears,
    packing: Packing,
    tokens: Ints,
    on_layer: Callable[[int, LayerTape[AttentionTape]], None],
) -> Floats:
    """Run packed sequences through all blocks.

    Args:
        base: The base model.
        linears: The projections in effect.
        packing: How the tokens form sequences.
        tokens: [tokens], ids.
        on_layer: Called with each block's number and tape; keep the tape for the backward, or let it go.

    Returns:
        [tokens, width]: the residual stream behind the last block, before the final norm.
    """

    def attend(q: Floats, k: Floats, v: Floats) -> tuple[Floats, AttentionTape]:
        return causal_attention(packing, q, k, v)

    rotation = base.rotation(packing.positions)
    x = np.take(base.embed, tokens, axis=0)
    for layer in range(base.config.n_layers):
        x, tape = block(base, layer, linears, x, rotation=rotation, attend=attend)
        on_layer(layer, tape)
        del tape  # or it would be there beside the next layer's
    return x


def split_heads(config: ModelConfig, qkv: Floats) -> tuple[Floats, Floats, Floats]:
    """[tokens, q_size + 2 * kv_size] -> views of q, k and v as [tokens, heads, head_dim]."""
    rows, k_end = len(qkv), config.q_size + config.kv_size
    return (
        qkv[:, : config.q_size].reshape(rows, config.n_heads, config.head_dim),
        qkv[:, config.q_size : k_end].reshape(rows, config.n_kv_heads, config.head_dim),
        qkv[:, k_end:].reshape(rows, config.n_kv_heads, config.head_dim),
    )


def _norm_heads(
    config: ModelConfig, weights: LayerWeights, q: Floats, k: Floats
) -> tuple[Floats, Floats, HeadNormTape]:
    assert weights.q_norm is not None
    assert weights.k_norm is not None
    q_normed, q_inverse = rms_norm(q, weights.q_norm, config.rms_eps)
    k_normed, k_inverse = rms_norm(k, weights.k_norm, config.rms_eps)
    return q_normed, k_normed, HeadNormTape(q, q_inverse, k, k_inverse)


def no_tape(layer: int, tape: LayerTape[AttentionTape]) -> None:
    """An `on_layer` that keeps nothing."""


def final_norm(base: BaseModel, x: Floats) -> tuple[Floats, Floats]:
    """The norm in front of the unembedding; see `rms_norm`."""
    return rms_norm(x, base.final_norm, base.config.rms_eps)
