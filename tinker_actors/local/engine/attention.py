"""Causal attention over padded sequences, with its exact backward; grouped-query heads share keys by broadcasting."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from tinker_actors.local.engine.arrays import Floats
from tinker_actors.local.engine.batch import Packing


class AttentionTape(msgspec.Struct, frozen=True, eq=False):
    """What the backward needs; heads come first, then positions.

    Attributes:
        q: [sequences, kv_heads, group, longest, head_dim], rotated.
        k: [sequences, kv_heads, 1, longest, head_dim], rotated.
        v: Like k, not rotated.
        probabilities: [sequences, kv_heads, group, longest, longest].
    """

    q: Floats
    k: Floats
    v: Floats
    probabilities: Floats


def softmax_in_place(scores: Floats) -> Floats:
    """Softmax over the last axis, written over the scores; -inf gives exactly 0. Returns the same array."""
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores


def causal_attention(packing: Packing, q: Floats, k: Floats, v: Floats) -> tuple[Floats, AttentionTape]:
    """Attention of every token to itself and what precedes it in its sequence.

    Args:
        packing: How the tokens form sequences.
        q: [tokens, heads, head_dim].
        k: [tokens, kv_heads, head_dim].
        v: [tokens, kv_heads, head_dim].

    Returns:
        [tokens, heads * head_dim], and what the backward needs.
    """
    kv_heads, head_dim = k.shape[1:]
    count, longest = packing.count, packing.longest
    grouped = (count, longest, kv_heads, q.shape[1] // kv_heads, head_dim)
    q5 = packing.pad(q).reshape(grouped).transpose(0, 2, 3, 1, 4)
    k5 = packing.pad(k).transpose(0, 2, 1, 3)[:, :, None]
    v5 = packing.pad(v).transpose(0, 2, 1, 3)[:, :, None]
    scores = q5 @ k5.swapaxes(-1, -2)
    scores *= 1.0 / math.sqrt(head_dim)
    scores += np.triu(np.full((longest, longest), -np.inf, q.dtype), 1)
    probabilities = softmax_in_place(scores)
    return _merge(packing, probabilities @ v5), AttentionTape(q5, k5, v5, probabilities)


def causal_attention_backward(packing: Packing, d_out: Floats, tape: AttentionTape) -> tuple[Floats, Floats, Floats]:
    """Gradients of q, k and v, packed as [tokens, heads * head_dim] and twice [tokens, kv_heads * head_dim]."""
    count, kv_heads, group, longest, head_dim = tape.q.shape
    d5 = packing.pad(d_out).reshape(count, longest, kv_heads, group, head_dim).transpose(0, 2, 3, 1, 4)
    d_scores = d5 @ tape.v.swapaxes(-1, -2)
    d_v = tape.probabilities.swapaxes(-1, -2) @ d5
    d_scores -= np.einsum("...i,...i->...", d_scores, tape.probabilities)[..., None]
    d_scores *= tape.probabilities
    d_scores *= 1.0 / math.sqrt(head_dim)
    d_q = d_scores @ tape.k
    d_k = d_scores.swapaxes(-1, -2) @ tape.q
    return _merge(packing, d_q), _merge(packing, _over_group(d_k)), _merge(packing, _over_group(d_v))


def _over_group(d_shared: Floats) -> Floats:
    """Sum what each query head of a group says about their shared key or value."""
    summed: Floats = d_shared.sum(axis=2, keepdims=True)
    return summed


def _merge(packing: Packing, heads: Floats) -> Floats:
    """[sequences, kv_heads, group, longest, head_dim] -> [tokens, kv_heads * group * head_dim]."""
    count, kv_heads, group, longest, head_dim = heads.shape
    rows = heads.transpose(0, 3, 1, 2, 4).reshape(count, longest, kv_heads * group * head_dim)
    return packing.unpad(rows)
