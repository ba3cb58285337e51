"""Sampling: parameters in, sequences out."""

from __future__ import annotations

from typing import Literal

import msgspec

StopReason = Literal["stop", "length"]


class SamplingParams(msgspec.Struct, kw_only=False, eq=False):
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


class SampledSequence(msgspec.Struct, eq=False):
    """One completion.

    Attributes:
        stop_reason: `"stop"` (a stop token or string) or `"length"`.
        tokens: the new token ids, without the prompt.
        logprobs: log-probability of each new token, same length, or None.
        sequence_id: the server's name for the sequence, or None.
    """

    stop_reason: StopReason
    tokens: list[int]
    logprobs: list[float] | None = None
    sequence_id: str | None = None


class SampleResponse(msgspec.Struct, eq=False):
    """The answer to a sample request.

    Attributes:
        sequences: `num_samples` completions.
        prompt_logprobs: one entry per prompt token, the first None, or None when not asked for.
        topk_prompt_logprobs: one entry per prompt token: None, or the k likeliest `(token, logprob)`.
        prompt_cache_hit_tokens: prompt tokens the server had in its cache.
        weights_version: number of optimizer steps behind the weights that answered: 0 for a base model, None for a
            sampler made from a path.
    """

    sequences: list[SampledSequence]
    prompt_logprobs: list[float | None] | None = None
    topk_prompt_logprobs: list[TopkLogprobs | None] | None = None
    prompt_cache_hit_tokens: int = 0
    weights_version: int | None = None
