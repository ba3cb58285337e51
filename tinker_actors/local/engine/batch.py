"""Sequences of different lengths as one computation: packed for products, padded for attention.

Products run over the tokens alone, so padding costs them nothing and cannot reach a result. Only attention sees a
padded square, where the causal mask hides what lies behind a sequence's end.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinker_actors.local.engine.arrays import Floats, Ints
from tinker_actors.local.engine.config import ModelConfig

ACTIVATION_BYTES = 256 * 2**20
"""About how much memory one microbatch may take for what backward needs; larger requests run in several."""


class Packing:
    """How sequences of given lengths are packed and padded. Immutable.

    Attributes:
        count: Number of sequences.
        longest: Length of the longest.
        tokens: Number of tokens.
        positions: [tokens], position of each token in its sequence.
        starts: [count + 1], where each sequence starts among the tokens, and the end.

    Args:
        lengths: Tokens of each sequence, each at least 1.
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        self.count = len(lengths)
        self.longest = max(lengths)
        sizes = np.asarray(lengths)
        self.starts: Ints = np.concatenate([[0], np.cumsum(sizes)])
        self.tokens = int(self.starts[-1])
        self.positions: Ints = np.arange(self.tokens) - np.repeat(self.starts[:-1], sizes)
        self._cells = self.positions + np.repeat(np.arange(self.count) * self.longest, sizes)
        self._full = self.tokens == self.count * self.longest

    def pad(self, packed: Floats) -> Floats:
        """[tokens, ...] -> [count, longest, ...], zeros behind the ends."""
        shape = (self.count, self.longest, *packed.shape[1:])
        if self._full:
            return packed.reshape(shape)
        padded = np.zeros((self.count * self.longest, *packed.shape[1:]), packed.dtype)
        padded[self._cells] = packed
        return padded.reshape(shape)

    def unpad(self, padded: Floats) -> Floats:
        """[count, longest, ...] -> [tokens, ...]."""
        flat = padded.reshape(self.count * self.longest, *padded.shape[2:])
        return flat if self._full else flat[self._cells]


def activation_bytes(count: int, longest: int, config: ModelConfig) -> int:
    """About how many bytes backward needs, in float32, of so many sequences that are padded to one length."""
    # Per token and layer: residual and norm twice, q, k, v and their rotation, attention output, six MLP arrays.
    per_token = 4 * config.hidden_size + 4 * (config.q_size + config.kv_size) + 6 * config.intermediate_size
    return 4 * count * longest * (per_token + config.n_heads * longest) * config.n_layers


def microbatches(lengths: Sequence[int], config: ModelConfig, limit_bytes: int = ACTIVATION_BYTES) -> list[range]:
    """Cut a request into runs of neighbouring sequences that fit the memory limit; at least one sequence each.

    The cut depends on the lengths alone, so the same request is always the same computation.
    """
    runs: list[range] = []
    start, longest = 0, 0
    for i, length in enumerate(lengths):
        widest = max(longest, length)
        rows = i + 1 - start
        if rows > 1 and activation_bytes(rows, widest, config) > limit_bytes:
            runs.append(range(start, i))
            start, widest = i, length
        longest = widest
    runs.append(range(start, len(lengths)))
    return runs
