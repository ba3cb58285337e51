"""From hidden states to log-probabilities of target tokens and back, in pieces that bound the memory for logits.

With a vocabulary of 150,000 the logits of a long batch outweigh everything else, so only a piece of rows is held at a
time and the backward computes it again.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinker_actors.local.engine.arrays import Floats, Ints
from tinker_actors.local.engine.layers import Linear, linear, linear_backward
from tinker_actors.local.engine.lora import Group

LOGIT_FLOATS = 16 * 2**20
"""Most logits held at once (64 MiB in float32)."""


def log_softmax(logits: Floats) -> Floats:
    """Log-softmax over the last axis, written over the logits. Returns the same array."""
    logits -= logits.max(axis=-1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return logits


def log_probabilities(head: Linear, h: Floats) -> tuple[Floats, Floats | None]:
    """Log-probabilities of the whole vocabulary.

    Args:
        head: The unembedding.
        h: [rows, width], behind the final norm.

    Returns:
        [rows, vocab], and what `linear` returned beside its output.
    """
    logits, inner = linear(h, head)
    return log_softmax(logits), inner


def pieces(rows: int, vocab_size: int, limit: int = LOGIT_FLOATS) -> Iterator[slice]:
    """Cut rows into slices whose logits stay within the limit; at least one row each."""
    step = max(1, limit // vocab_size)
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


class TargetLogprobs:
    """Log-probabilities of target tokens, and their gradient.

    Attributes:
        values: [targets], log-probability of each target.

    Args:
        head: The unembedding.
        h: [rows, width], behind the final norm.
        targets: [targets], token ids.
        owners: [targets], the row that each target belongs to, in ascending order.
        limit: Most logits held at once; if all rows fit, the backward finds them still there.
    """

    def __init__(self, head: Linear, h: Floats, targets: Ints, owners: Ints, limit: int = LOGIT_FLOATS) -> None:
        self._head, self._h, self._targets, self._owners = head, h, targets, owners
        self._pieces = list(pieces(len(h), len(head.weight), limit))
        self._kept: tuple[Floats, Floats | None] | None = None
        self.values: Floats = np.empty(len(targets), h.dtype)
        for rows in self._pieces:
            logprobs, inner = log_probabilities(head, h[rows])
            some, cells = self._cells(rows)
            self.values[some] = logprobs[cells]
            if len(self._pieces) == 1:
                self._kept = (logprobs, inner)

    def backward(self, d_values: Floats, grad: Group | None) -> Floats:
        """Add the gradients of the unembedding's LoRA matrices. To be called once.

        Args:
            d_values: [targets], gradient of each target's log-probability.
            grad: Where they are added; None if there are none.

        Returns:
            [rows, width], gradient of h.
        """
        dh = np.empty_like(self._h)
        for rows in self._pieces:
            h = self._h[rows]
            logprobs, inner = self._kept or log_probabilities(self._head, h)
            some, cells = self._cells(rows)
            # d logprob[target] / d logits = onehot(target) - softmax, and a row's targets add up.
            d_logits = np.exp(logprobs, out=logprobs)
            d_logits *= -np.bincount(cells[0], d_values[some], len(h)).astype(h.dtype)[:, None]
            np.add.at(d_logits, cells, d_values[some])
            piece = linear_backward(d_logits, h, inner, self._head, grad)
            assert piece is not None
            dh[rows] = piece
        self._kept = None
        return dh

    def _cells(self, rows: slice) -> tuple[slice, tuple[Ints, Ints]]:
        """The targets of some rows, and where they lie in those rows' logits."""
        first, last = np.searchsorted(self._owners, [rows.start, rows.stop])
        some = slice(int(first), int(last))
        return some, (self._owners[some] - rows.start, self._targets[some])
