"""The backward pass: exact gradients of the LoRA matrices, block by block from the end.

It stops as soon as nothing further down is trained: base weights and embeddings have no gradient.
"""

from __future__ import annotations

import numpy as np

from tinker_actors.local.engine.arrays import Floats
from tinker_actors.local.engine.attention import AttentionTape, causal_attention_backward
from tinker_actors.local.engine.base import BaseModel, LayerWeights
from tinker_actors.local.engine.batch import Packing
from tinker_actors.local.engine.layers import linear_backward, rms_norm_backward, rotate, swiglu_backward
from tinker_actors.local.engine.lora import Groups
from tinker_actors.local.engine.transformer import HeadNormTape, LayerTape, Linears, split_heads

Tape = list[LayerTape[AttentionTape]]
"""The tapes of all blocks, first block first."""


class BackwardPass:
    """The way back through the blocks of one microbatch.

    Args:
        base: The base model.
        linears: The projections in effect, as the forward had them.
        grads: Where the gradients of their LoRA matrices are added.
        packing: How the tokens form sequences.
    """

    def __init__(self, base: BaseModel, linears: Linears, grads: Groups, packing: Packing) -> None:
        self._base = base
        self._linears = linears
        self._grads = grads
        self._packing = packing
        cos, sin = base.rotation(packing.positions)
        self._reverse_rotation = (cos, -sin)

    def run(self, tape: Tape, dx: Floats) -> None:
        """Add the gradients of all blocks' LoRA matrices.

        Args:
            tape: What the forward left.
            dx: [tokens, width], gradient of the residual stream behind the last block.
        """
        if all(layer < 0 for layer, _ in self._grads):
            return
        for layer in range(self._base.config.n_layers - 1, -1, -1):
            d_middle = self._mlp(layer, tape[layer], dx)
            lowest = layer == 0
            if lowest and (0, "qkv") not in self._grads:
                return
            below = self._attention(layer, tape[layer], d_middle, need_dx=not lowest)
            if below is None:
                return
            dx = below

    def _mlp(self, layer: int, tape: LayerTape[AttentionTape], dy: Floats) -> Floats:
        """From the gradient behind a block to the one between its halves."""
        d_activated = self._linear(layer, "down", dy, tape.activated, tape.down_inner)
        d_gate_up = swiglu_backward(d_activated, tape.gate_up, tape.sigmoid)
        d_normed = self._linear(layer, "gate_up", d_gate_up, tape.mlp_normed, tape.gate_up_inner)
        d_middle = rms_norm_backward(d_normed, tape.middle, tape.middle_inverse, self._base.layers[layer].mlp_norm)
        d_middle += dy
        return d_middle

    def _attention(self, layer: int, tape: LayerTape[AttentionTape], dy: Floats, *, need_dx: bool) -> Floats | None:
        """From the gradient between a block's halves to the one in front of it, if anything needs that."""
        weights = self._base.layers[layer]
        d_attended = self._linear(layer, "o", dy, tape.attended, tape.o_inner)
        d_q, d_k, d_v = causal_attention_backward(self._packing, d_attended, tape.attention)
        d_qkv = np.empty((len(dy), len(weights.qkv)), dy.dtype)
        q_out, k_out, v_out = split_heads(self._base.config, d_qkv)
        q_out[...] = rotate(d_q.reshape(q_out.shape), *self._reverse_rotation)
        k_out[...] = rotate(d_k.reshape(k_out.shape), *self._reverse_rotation)
        v_out[...] = d_v.reshape(v_out.shape)
        if tape.head_norm is not None:
            _norm_heads_backward(weights, tape.head_norm, q_out, k_out)
        key = (layer, "qkv")
        d_normed = linear_backward(
            d_qkv, tape.normed, tape.qkv_inner, self._linears[key], self._grads.get(key), need_dx=need_dx
        )
        if d_normed is None:
            return None
        dx = rms_norm_backward(d_normed, tape.x, tape.x_inverse, weights.attention_norm)
        dx += dy
        return dx

    def _linear(self, layer: int, name: str, dy: Floats, x: Floats, inner: Floats | None) -> Floats:
        key = (layer, name)
        dx = linear_backward(dy, x, inner, self._linears[key], self._grads.get(key))
        assert dx is not None
        return dx


def _norm_heads_backward(weights: LayerWeights, tape: HeadNormTape, d_q: Floats, d_k: Floats) -> None:
    """Turn the gradients behind the head norms into those in front of them, in place."""
    assert weights.q_norm is not None
    assert weights.k_norm is not None
    d_q[...] = rms_norm_backward(d_q, tape.q, tape.q_inverse, weights.q_norm)
    d_k[...] = rms_norm_backward(d_k, tape.k, tape.k_inverse, weights.k_norm)
