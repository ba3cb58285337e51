"""The shape of a model: everything that says how its weights are to be used.

One record serves the Llama family: Llama itself, Qwen2 (bias on q, k, v) and Qwen3 (a norm on each head of q and k)
differ in two flags only.
"""

from __future__ import annotations

import math

import msgspec

_MOST = {
    "n_layers": 2**12,
    **dict.fromkeys(("n_heads", "n_kv_heads", "head_dim"), 2**16),
    **dict.fromkeys(("vocab_size", "hidden_size", "intermediate_size", "context_length"), 2**24),
}
"""Far beyond any model; larger ones would fill any memory with names and tables before a weight is read."""


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Architecture of a decoder-only transformer.

    Attributes:
        vocab_size: Number of token ids; ids are 0 to vocab_size - 1.
        hidden_size: Width of the residual stream.
        n_layers: Number of transformer blocks.
        n_heads: Query heads per block.
        n_kv_heads: Key and value heads per block; fewer than `n_heads` is grouped-query attention.
        head_dim: Features of one head; even, because rotary embedding turns pairs.
        intermediate_size: Width inside the SwiGLU block.
        context_length: Most tokens that one sequence may have, prompt and completion together.
        rope_theta: Base of the rotary frequencies.
        rms_eps: Added to the mean square in every RMSNorm.
        attention_bias: Whether q, k and v projections have a bias (Qwen2).
        qk_norm: Whether each head of q and k passes an RMSNorm before rotation (Qwen3).
        tie_embeddings: Whether the unembedding is the embedding matrix.
        eos_token_ids: Tokens that end a completion when a request names no stop of its own.

    Raises:
        ValueError: A size is below 1 or beyond what any model has, `head_dim` is odd, `n_heads` is no multiple of
            `n_kv_heads`, or `rope_theta` or `rms_eps` is out of range.
    """

    vocab_size: int
    hidden_size: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    intermediate_size: int
    context_length: int
    rope_theta: float = 10_000.0
    rms_eps: float = 1e-6
    attention_bias: bool = False
    qk_norm: bool = False
    tie_embeddings: bool = False
    eos_token_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be 1 to {most}, got {getattr(self, name)}")
        if not 0 < self.rope_theta < math.inf:
            raise ValueError(f"rope_theta must be above 0 and finite, got {self.rope_theta}")
        if not 0 <= self.rms_eps < math.inf:
            raise ValueError(f"rms_eps must be 0 or more and finite, got {self.rms_eps}")
        if self.head_dim % 2:
            raise ValueError(f"head_dim must be even, got {self.head_dim}")
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_heads {self.n_heads} is no multiple of n_kv_heads {self.n_kv_heads}")
        outside = [token for token in self.eos_token_ids if not 0 <= token < self.vocab_size]
        if outside:
            raise ValueError(f"eos_token_ids {outside} lie outside the vocabulary of {self.vocab_size}")

    @property
    def arch(self) -> str:
        """The architecture's short name: "llama", "qwen2" or "qwen3"."""
        if self.qk_norm:
            return "qwen3"
        return "qwen2" if self.attention_bias else "llama"

    @property
    def q_size(self) -> int:
        """Features of all query heads together."""
        return self.n_heads * self.head_dim

    @property
    def kv_size(self) -> int:
        """Features of all key heads together; the same for values."""
        return self.n_kv_heads * self.head_dim
