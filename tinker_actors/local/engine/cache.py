"""The key-value cache of sequences that are being continued: one row each, rows moved up when one leaves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinker_actors.local.engine.arrays import Floats, Ints
from tinker_actors.local.engine.attention import softmax_in_place
from tinker_actors.local.engine.config import ModelConfig

SPARE_POSITIONS = 32
"""Positions that a growing cache takes beyond those needed now, and beyond a quarter more than it had."""


class KeyValueCache:
    """Keys and values of all layers for a changing set of sequences. For one thread at a time.

    Attributes:
        rows: Sequences held.

    Args:
        config: Shape of the model.
        dtype: Precision.
    """

    def __init__(self, config: ModelConfig, dtype: np.dtype[Any]) -> None:
        self._config = config
        self.rows = 0
        # Zeros, not garbage: masked cells are multiplied by 0, which would keep a NaN.
        self._stores = [
            (np.zeros(self._shape(0, 0), dtype), np.zeros(self._shape(0, 0), dtype)) for _ in range(config.n_layers)
        ]
        self._lengths: Ints = np.zeros(0, np.int64)

    @property
    def lengths(self) -> Ints:
        """[rows], tokens held of each sequence."""
        return self._lengths[: self.rows]

    def append(self, lengths: Sequence[int]) -> slice:
        """Make room for new sequences whose keys and values are about to be written; returns their rows."""
        start, end = self.rows, self.rows + len(lengths)
        self._reserve(end, max(lengths) + 1)
        self.rows = end
        self._lengths[start:end] = lengths
        return slice(start, end)

    def write_prompts(self, layer: int, rows: slice, keys: Floats, values: Floats) -> None:
        """Write what prefill computed, [rows, kv_heads, positions, head_dim]; cells behind a prompt's end are free."""
        positions = keys.shape[2]
        for store, new in zip(self._stores[layer], (keys, values), strict=True):
            store[rows, :, :positions] = new

    def keep(self, rows: Sequence[int]) -> list[int]:
        """Drop all but these rows.

        The last survivors move into the gaps, so that only they are copied.

        Returns:
            For each new row, the old one that is there now.
        """
        kept = set(rows)
        count = len(kept)
        gaps = [row for row in range(count) if row not in kept]
        movers = sorted(row for row in kept if row >= count)
        order = list(range(count))
        if gaps:
            used = int(self.lengths.max())
            for store in (store for pair in self._stores for store in pair):
                store[gaps, :, :used] = store[movers, :, :used]
            self._lengths[gaps] = self._lengths[movers]
            for gap, mover in zip(gaps, movers, strict=True):
                order[gap] = mover
        self.rows = count
        return order

    def reserve_next(self) -> None:
        """Make room for one more token in every row."""
        self._reserve(self.rows, int(self.lengths.max()) + 1)

    def advance(self) -> None:
        """Count the token that `attend` has written in every layer."""
        self._lengths[: self.rows] += 1

    def attend(self, layer: int, q: Floats, k: Floats, v: Floats) -> Floats:
        """Write one token per row and attend to it and all before it.

        Args:
            layer: Number of the block.
            q: [rows, heads, head_dim], rotated.
            k: [rows, kv_heads, head_dim], rotated.
            v: [rows, kv_heads, head_dim].

        Returns:
            [rows, heads * head_dim].
        """
        count, kv_heads, head_dim = k.shape
        lengths = self.lengths
        keys, values = self._stores[layer]
        keys[np.arange(count), :, lengths] = k
        values[np.arange(count), :, lengths] = v
        longest = int(lengths.max()) + 1
        grouped = q.reshape(count, kv_heads, q.shape[1] // kv_heads, head_dim)
        scores = grouped @ keys[:count, :, :longest].swapaxes(-1, -2)
        scores *= 1.0 / math.sqrt(head_dim)
        hidden = np.arange(longest) > lengths[:, None]
        np.copyto(scores, -np.inf, where=hidden[:, None, None, :])
        attended = softmax_in_place(scores) @ values[:count, :, :longest]
        return attended.reshape(count, q.shape[1] * head_dim)

    def _shape(self, rows: int, positions: int) -> tuple[int, int, int, int]:
        return rows, self._config.n_kv_heads, positions, self._config.head_dim

    def _reserve(self, rows: int, positions: int) -> None:
        have_rows, _, have_positions, _ = self._stores[0][0].shape
        positions = min(positions, self._config.context_length)
        if rows <= have_rows and positions <= have_positions:
            return
        if rows > have_rows:
            self._lengths = np.concatenate([self._lengths, np.zeros(rows - have_rows, np.int64)])
        if positions > have_positions:
            wanted = max(positions + SPARE_POSITIONS, have_positions + have_positions // 4)
            positions = min(wanted, self._config.context_length)
        shape = self._shape(max(rows, have_rows), max(positions, have_positions))
        for layer, (keys, values) in enumerate(self._stores):
            grown = (np.zeros(shape, keys.dtype), np.zeros(shape, values.dtype))
            for new, old in zip(grown, (keys, values), strict=True):
                new[: self.rows, :, :have_positions] = old[: self.rows]
            self._stores[layer] = grown
