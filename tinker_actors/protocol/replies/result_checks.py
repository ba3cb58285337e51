"""Checks of results that were read: whether they can be what was asked for, whatever dialect they came in.

All raise ValueError, so that the reader of a dialect tells of what came; nothing that contradicts itself is passed on.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized

from tinker_actors.types.sampling import SampledSequence
from tinker_actors.types.training import LossFnOutput

_ITEM = 4  # bytes of a token or a logprob

SMALLEST_TOO_LARGE = 1 << 31
"""Token ids are below this, and not below 0: they are 32-bit integers everywhere on the wire (wire protocol 4.2)."""


def check_sequences(sequences: Sequence[SampledSequence], expected: int) -> None:
    """Check how many sequences there are, and each of them.

    Args:
        sequences: as they came.
        expected: how many were asked for; 0 when that is not known here.

    Raises:
        ValueError: none, another number of them, or tokens and log-probabilities that don't go together.
    """
    count = len(sequences)
    if not count or (expected and count != expected):
        raise ValueError(f"it has {count} sequences, and {expected or 'at least one'} was asked for")
    for sequence in sequences:
        # Both are arrays' bytes, or neither: as long as they are, there are as many of them.
        tokens, logprobs, ranked = sequence._tokens, sequence._logprobs, sequence._topk
        if logprobs is not None and len(logprobs) != len(tokens):
            raise ValueError(f"a sequence has {_number(tokens)} tokens and {_number(logprobs)} logprobs")
        if ranked is not None and len(ranked) != _number(tokens):
            raise ValueError(f"a sequence has {_number(tokens)} tokens and {len(ranked)} rows of likeliest tokens")


def _number(values: Sized) -> int:
    return len(values) // _ITEM if isinstance(values, bytes) else len(values)


def check_bytes(tokens: bytes, logprobs: bytes) -> None:
    """Check a sequence as it comes in protobuf, little-endian 32-bit numbers; in JSON their types say the same.

    Raises:
        ValueError: they are no whole number of numbers, or a token is below 0.
    """
    if len(tokens) % _ITEM or len(logprobs) % _ITEM:
        raise ValueError(
            f"a sequence's tokens have {len(tokens)} bytes and its logprobs {len(logprobs)}: no multiple of {_ITEM}"
        )
    # The sign is in every fourth byte. This is a tenth of what it costs to ask the array.
    if not tokens[3::4].isascii():
        raise ValueError("a sequence has a token below 0")


def whole_outputs(outputs: list[LossFnOutput], expected: int) -> list[LossFnOutput]:
    """Return one output for each example: those that came, or empty ones where a server leaves all of them out.

    Raises:
        ValueError: another number, so that nobody could tell which example they belong to.
    """
    if len(outputs) != expected and expected:
        if outputs:
            raise ValueError(f"it has {len(outputs)} outputs for {expected} examples")
        return [{} for _ in range(expected)]
    return outputs
