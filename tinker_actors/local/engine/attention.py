"""Causal attention over padded sequences, with its exact backward; grouped-query heads share keys by broadcasting."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from tinker_actors.local.engine.arrays import Floats
from tinker_actors.local.engine.batch import Packing

SHORT_ROW = 64
"""Rows up to this length are compared across, not along: numpy's maximum along a short row costs more than a copy."""


class AttentionTape(msgspec.Struct, frozen=True, eq=False):
    """What the backward needs; heads come first, then positions.

    The query heads that share a key are as one longer sequence, group after group, so that one product serves all and
    sums over the group where a key's gradient needs it.

    Attributes:
        q: [sequences, kv_heads, group * longest, head_dim], rotated and divided by sqrt(head_dim).
        k: [sequences, kv_heads, longest, head_dim], rotated.
        v: Like k, not rotated.
        probabilities: [sequences, kv_heads, group * longest, longest].
    """

    q: Floats
    k: Floats
    v: Floats
    probabilities: Floats


def softmax_in_place(scores: Floats) -> Floats:
    """Softmax over the last axis, written over the scores; -inf gives exactly 0. Returns the same array."""
    scores -= _highest(scores)[..., None]
    np.exp(scores, out=scores)
    scores /= np.einsum("...i->...", scores)[..., None]
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
    longest = packing.longest
    q4 = _split(packing, q, kv_heads)
    q4 *= 1.0 / math.sqrt(head_dim)
    k4 = packing.pad(k).transpose(0, 2, 1, 3)
    v4 = packing.pad(v).transpose(0, 2, 1, 3)
    scores = q4 @ k4.swapaxes(-1, -2)
    by_group = scores.reshape(packing.count, kv_heads, q.shape[1] // kv_heads, longest, longest)
    by_group += np.triu(np.full((longest, longest), -np.inf, q.dtype), 1)
    probabilities = softmax_in_place(scores)
    return _merge(packing, probabilities @ v4), AttentionTape(q4, k4, v4, probabilities)


def causal_attention_backward(packing: Packing, d_out: Floats, tape: AttentionTape) -> tuple[Floats, Floats, Floats]:
    """Gradients of q, k and v, packed as [tokens, heads * head_dim] and twice [tokens, kv_heads * head_dim]."""
    kv_heads, head_dim = tape.k.shape[1], tape.k.shape[3]
    d4 = _split(packing, d_out.reshape(len(d_out), -1, head_dim), kv_heads)
    d_scores = d4 @ tape.v.swapaxes(-1, -2)
    d_v = tape.probabilities.swapaxes(-1, -2) @ d4
    d_scores -= np.einsum("...i,...i->...", d_scores, tape.probabilities)[..., None]
    d_scores *= tape.probabilities
    d_q = d_scores @ tape.k
    d_q *= 1.0 / math.sqrt(head_dim)
    d_k = d_scores.swapaxes(-1, -2) @ tape.q
    return _merge(packing, d_q), _merge(packing, d_k), _merge(packing, d_v)


def _highest(scores: Floats) -> Floats:
    """The greatest number of each row along the last axis."""
    length = scores.shape[-1]
    if length > SHORT_ROW:
        highest: Floats = scores.max(axis=-1)
    else:
        highest = np.ascontiguousarray(scores.reshape(-1, length).T).max(axis=0)
    return highest.reshape(scores.shape[:-1])


def _split(packing: Packing, packed: Floats, kv_heads: int) -> Floats:
    """[tokens, heads, head_dim] -> a new array [sequences, kv_heads, group * longest, head_dim]."""
    count, longest, head_dim = packing.count, packing.longest, packed.shape[2]
    group = packed.shape[1] // kv_heads
    padded = packing.pad(packed).reshape(count, longest, kv_heads, group, head_dim)
    split = padded.transpose(0, 2, 3, 1, 4).copy(order="C")
    return split.reshape(count, kv_heads, group * longest, head_dim)


def _merge(packing: Packing, heads: Floats) -> Floats:
    """[sequences, kv_heads, group * longest, head_dim] -> [tokens, kv_heads * group * head_dim]."""
    count, kv_heads, _, head_dim = heads.shape
    by_group = heads.reshape(count, kv_heads, -1, packing.longest, head_dim)
    return packing.unpad(by_group.transpose(0, 3, 1, 2, 4).reshape(count, packing.longest, -1))
