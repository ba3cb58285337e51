"""Sampling: parameters in, sequences out.

A trainer that draws ten thousand completions may never look at one as a list, so results keep the arrays they came as
and make a list when somebody asks for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from tinker_actors.types.arrays import Array
from tinker_actors.types.spelling import SpelledMeta
from tinker_actors.types.tensors import TensorData

StopReason = Literal["stop", "length"]


class SamplingParams(msgspec.Struct, metaclass=SpelledMeta, kw_only=False, eq=False):
    """How to draw tokens.

    Attributes:
        max_tokens: at most this many new tokens; None leaves it to the server.
        seed: makes the draw repeatable; None draws anew each time.
        stop: a string, strings or token ids that end a sequence. None stops at the end-of-sequence token; an empty
            list never stops early.
        temperature: divides the logits; 0 always takes the likeliest token.
        top_k: draw from the k likeliest tokens only; -1 from all.
        top_p: draw from the smallest set of tokens with this much probability.
    """

    max_tokens: int | None = None
    seed: int | None = None
    stop: str | list[str | int] | None = None
    temperature: float = 1.0
    top_k: int = -1
    top_p: float = 1.0


TopkLogprobs = list[tuple[int, float]]
TopkArrays = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]
"""Token ids and log-probabilities, both (N, K). An empty cell has token 0 and log-probability `EMPTY_CELL`."""

EMPTY_CELL = -99999.0
"""Log-probability of a cell that holds nothing (wire protocol 4.2)."""


class _Values:
    """Numbers as a list, as an array, or as both once both were asked for. Never changed otherwise.

    Args:
        values: the numbers; bytes are those of an array, 32 bits each, little-endian.
        dtype: what bytes hold.
    """

    __slots__ = ("_array", "_items")

    def __init__(self, values: list[Any] | Array | bytes, dtype: type[np.generic] = np.float32) -> None:
        self._array: Array | None = None
        self._items: list[Any] | None = None
        if isinstance(values, bytes):  # of a bytearray, and not of them, since the array is the caller's to write to
            wire = np.dtype(dtype).newbyteorder("<")
            self._array = np.frombuffer(bytearray(values), wire).astype(dtype, copy=False)
        elif isinstance(values, np.ndarray):
            self._array = values
        else:
            self._items = values

    def __len__(self) -> int:
        return len(self._items) if self._array is None else len(self._array)  # type: ignore[arg-type]  # one is there

    def array(self, dtype: type[np.generic]) -> Array:
        """Return the values as an array; None becomes NaN."""
        if self._array is None:
            self._array = np.asarray(self._items, dtype)
        return self._array

    def items(self, *, nan_is_none: bool = False) -> list[Any]:
        """Return the values as a list, the same one each time."""
        if self._items is None:
            assert self._array is not None
            array = self._array
            if nan_is_none and np.isnan(array).any():
                array = array.astype(object)
                array[np.isnan(self._array)] = None
            self._items = array.tolist()
        return self._items


def _values(values: list[Any] | Array | bytes | _Values, dtype: type[np.generic]) -> _Values:
    return values if type(values) is _Values else _Values(values, dtype)  # type: ignore[arg-type]  # one of the others


class _Topk:
    """Likeliest tokens as rows of pairs, as arrays, or as both once both were asked for."""

    __slots__ = ("_arrays", "_rows")

    def __init__(self, values: list[TopkLogprobs | None] | TopkArrays) -> None:
        self._arrays: TopkArrays | None = None
        self._rows: list[TopkLogprobs | None] | None = None
        if isinstance(values, tuple):
            self._arrays = values
        else:
            self._rows = values

    def __len__(self) -> int:
        return len(self._rows) if self._arrays is None else len(self._arrays[0])  # type: ignore[arg-type]  # one is there

    def arrays(self) -> TopkArrays:
        if self._arrays is None:
            assert self._rows is not None
            self._arrays = topk_arrays(self._rows)
        return self._arrays

    def rows(self) -> list[TopkLogprobs | None]:
        if self._rows is None:
            assert self._arrays is not None
            self._rows = topk_rows(*self._arrays)
        return self._rows


class SampledSequence:
    """One completion.

    Reading it from several threads is safe. Lists are made on first access and are the same ones from then on; to
    change one does not change the array.

    Args:
        stop_reason: `"stop"` (a stop token or string) or `"length"`.
        tokens: the new token ids, without the prompt: a list or an int32 array (N,), or the little-endian bytes of one.
        logprobs: log-probability of each new token, same length, a list or a float32 array or its bytes; or None. On
            the embedded server at temperature 1, whatever it was drawn with.
        sequence_id: the server's name for the sequence, or None.
        topk_logprobs: per new token None or the likeliest `(token, logprob)`, or arrays; None when not asked for.
    """

    __slots__ = ("_logprobs", "_tokens", "_topk", "sequence_id", "stop_reason")
    __match_args__ = ("stop_reason", "tokens", "logprobs", "sequence_id")

    def __init__(
        self,
        stop_reason: StopReason,
        tokens: list[int] | Array | bytes,
        logprobs: list[float] | Array | bytes | None = None,
        sequence_id: str | None = None,
        topk_logprobs: list[TopkLogprobs | None] | TopkArrays | None = None,
    ) -> None:
        self.stop_reason: StopReason = stop_reason
        # As they are: most are never looked at, or as arrays only.
        self._tokens: list[Any] | Array | bytes | _Values = tokens
        self._logprobs: list[Any] | Array | bytes | _Values | None = logprobs
        self.sequence_id: str | None = sequence_id
        self._topk = None if topk_logprobs is None else _Topk(topk_logprobs)

    @property
    def tokens(self) -> list[int]:
        """The new token ids, without the prompt."""
        self._tokens = tokens = _values(self._tokens, np.int32)
        return tokens.items()

    @property
    def tokens_np(self) -> npt.NDArray[np.int32]:
        """The new token ids, (N,) int32."""
        self._tokens = tokens = _values(self._tokens, np.int32)
        return tokens.array(np.int32)

    @property
    def logprobs(self) -> list[float] | None:
        """Log-probability of each new token, or None."""
        if self._logprobs is None:
            return None
        self._logprobs = logprobs = _values(self._logprobs, np.float32)
        return logprobs.items()

    @property
    def logprobs_np(self) -> npt.NDArray[np.float32] | None:
        """Log-probability of each new token, (N,) float32, or None."""
        if self._logprobs is None:
            return None
        self._logprobs = logprobs = _values(self._logprobs, np.float32)
        return logprobs.array(np.float32)

    @property
    def topk_logprobs(self) -> list[TopkLogprobs | None] | None:
        """Per new token the likeliest `(token, logprob)`, or None; None when not asked for."""
        return None if self._topk is None else self._topk.rows()

    def __repr__(self) -> str:
        scored = "" if self._logprobs is None else ", with logprobs"
        name = "" if self.sequence_id is None else f", {self.sequence_id!r}"
        return f"SampledSequence({self.stop_reason!r}, {len(self.tokens_np)} tokens{scored}{name})"


class SampleResponse:
    """The answer to a sample request.

    Reading it from several threads is safe. Lists are made on first access and are the same ones from then on.

    Args:
        sequences: `num_samples` completions.
        prompt_logprobs: one entry per prompt token, the first None (NaN in a float32 array), or None when not asked
            for.
        topk_prompt_logprobs: one entry per prompt token: None, or the k likeliest `(token, logprob)`; or arrays.
        prompt_cache_hit_tokens: prompt tokens the server had in its cache.
        weights_version: number of optimizer steps called before the weights that answered were saved, those that failed
            included: 0 for a base model, None for a sampler made from a path.
        target_prompt_logprobs: log-probabilities of the tokens that were asked about, in the request's shape and
            form, or None.
    """

    __slots__ = (
        "_prompt_logprobs",
        "_topk",
        "prompt_cache_hit_tokens",
        "sequences",
        "target_prompt_logprobs",
        "weights_version",
    )
    __match_args__ = ("sequences", "prompt_logprobs", "topk_prompt_logprobs", "prompt_cache_hit_tokens")

    def __init__(
        self,
        sequences: list[SampledSequence],
        prompt_logprobs: list[float | None] | Array | None = None,
        topk_prompt_logprobs: list[TopkLogprobs | None] | TopkArrays | None = None,
        prompt_cache_hit_tokens: int = 0,
        weights_version: int | None = None,
        target_prompt_logprobs: TensorData | None = None,
    ) -> None:
        self.sequences: list[SampledSequence] = sequences
        self._prompt_logprobs = None if prompt_logprobs is None else _Values(prompt_logprobs)
        self._topk = None if topk_prompt_logprobs is None else _Topk(topk_prompt_logprobs)
        self.prompt_cache_hit_tokens: int = prompt_cache_hit_tokens
        self.weights_version: int | None = weights_version
        self.target_prompt_logprobs: TensorData | None = target_prompt_logprobs

    @property
    def prompt_logprobs(self) -> list[float | None] | None:
        """Log-probability of each prompt token, None where there is none, as for the first; None if not asked for."""
        return None if self._prompt_logprobs is None else self._prompt_logprobs.items(nan_is_none=True)

    @property
    def prompt_logprobs_np(self) -> npt.NDArray[np.float32] | None:
        """Log-probability of each prompt token, (N,) float32, NaN where there is none; None if not asked for."""
        return None if self._prompt_logprobs is None else self._prompt_logprobs.array(np.float32)

    @property
    def topk_prompt_logprobs(self) -> list[TopkLogprobs | None] | None:
        """Per prompt token None or the k likeliest `(token, logprob)`; None if not asked for."""
        return None if self._topk is None else self._topk.rows()

    @property
    def topk_prompt_logprobs_np(self) -> TopkArrays | None:
        """Token ids and log-probabilities, both (N, K); None if not asked for."""
        return None if self._topk is None else self._topk.arrays()

    def __repr__(self) -> str:
        version = "" if self.weights_version is None else f", weights_version={self.weights_version}"
        return f"SampleResponse({len(self.sequences)} sequences{version})"


def topk_rows(token_ids: npt.NDArray[np.int32], logprobs: npt.NDArray[np.float32]) -> list[TopkLogprobs | None]:
    """Return top-k arrays (N, K) as rows: None for one that starts with an empty cell; trailing ones are cut off."""
    full = (token_ids != 0) | (logprobs != np.float32(EMPTY_CELL))
    if not full.size:
        return [None] * len(full)
    used = np.where(full[:, 0], full.shape[1] - np.argmax(full[:, ::-1], axis=1), 0).tolist()
    return [
        list(zip(ids[:count], values[:count], strict=True)) if count else None
        for ids, values, count in zip(token_ids.tolist(), logprobs.tolist(), used, strict=True)
    ]


def topk_arrays(rows: Sequence[Sequence[tuple[int, float]] | None]) -> TopkArrays:
    """Return rows of `(token, logprob)` as arrays (N, K), K the longest row; None is a row of empty cells."""
    width = max((len(row) for row in rows if row), default=0)
    token_ids = np.zeros((len(rows), width), np.int32)
    logprobs = np.full((len(rows), width), EMPTY_CELL, np.float32)
    for index, row in enumerate(rows):
        if row:
            token_ids[index, : len(row)], logprobs[index, : len(row)] = zip(*row, strict=True)
    return token_ids, logprobs
