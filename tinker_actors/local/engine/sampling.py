"""What goes into a sampling request and what comes out, and the checks in between."""

from __future__ import annotations

import math
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from tinker_actors.local.engine.arrays import Ints
from tinker_actors.local.engine.config import ModelConfig
from tinker_actors.local.engine.data import check_ids

StopReason = Literal["stop", "length"]

TopTokens = list[tuple[int, float]]
"""(token id, log-probability), most probable first."""


class SampleRequest(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One prompt and how to continue it.

    Attributes:
        prompt: [length], token ids.
        num_samples: Completions wanted.
        max_tokens: Most tokens of a completion; None means as many as the context has room for behind the prompt, which
            is the limit anyhow. A prompt that fills the context is allowed, and gets one token: the last token drawn is
            never run through the model, and a prompt is scored by sampling one token behind it.
        temperature: Divides the logits; 0 takes the most probable token.
        top_k: Draw among the k most probable tokens; -1 or 0 means all.
        top_p: Draw among the fewest most probable tokens that together have at least this probability (behind top_k).
        seed: Completion i draws from a generator seeded with (seed, i); None takes the system's entropy.
        stop: Strings and token sequences, each of which ends a completion that contains it; None means the model's
            end-of-sequence tokens, () means nothing.
        prompt_logprobs: Whether to score the prompt's own tokens.
        topk_prompt_logprobs: How many most probable tokens to report for each position of the prompt.
        prompt_logprobs_last_n: Report those two for the last n positions only; None means for all. Needs
            `prompt_logprobs`.
        target_prompt_logprobs: [length - 1, K], ids to score at each position behind the first; -1 means nothing.
        topk_sample_logprobs: How many most probable tokens to report for each token drawn.
    """

    prompt: npt.NDArray[np.integer]
    num_samples: int = 1
    max_tokens: int | None = None
    temperature: float = 1.0
    top_k: int = -1
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str | tuple[int, ...], ...] | None = None
    prompt_logprobs: bool = False
    topk_prompt_logprobs: int = 0
    prompt_logprobs_last_n: int | None = None
    target_prompt_logprobs: npt.NDArray[np.integer] | None = None
    topk_sample_logprobs: int = 0


class SampledSequence(msgspec.Struct, frozen=True, eq=False):
    """One completion.

    Attributes:
        tokens: [length] int32, including those that made it stop.
        logprobs: [length] float32, log-probability of each token at temperature 1 among the whole vocabulary,
            whatever the temperature, top_k and top_p by which it was drawn.
        stop_reason: "stop" if a stop rule ended it, "length" if it ran out of room.
        topk_logprobs: The most probable tokens at each position, with log-probabilities like those above; None if not
            asked for.
    """

    tokens: npt.NDArray[np.int32]
    logprobs: npt.NDArray[np.float32]
    stop_reason: StopReason
    topk_logprobs: list[TopTokens] | None = None


class SampleResult(msgspec.Struct, frozen=True, eq=False):
    """All completions of one prompt.

    Attributes:
        sequences: One per sample, in order of their number.
        prompt_logprobs: One per prompt token, None for the first and in front of the last n; None if not asked for.
        topk_prompt_logprobs: The same for the most probable tokens at each position.
        target_prompt_logprobs: In the shape of the request's, 0 where there was nothing to score; None if not asked
            for.
    """

    sequences: list[SampledSequence]
    prompt_logprobs: list[float | None] | None = None
    topk_prompt_logprobs: list[TopTokens | None] | None = None
    target_prompt_logprobs: npt.NDArray[np.float32] | None = None


def check_sample_request(request: SampleRequest, config: ModelConfig) -> Ints:
    """Check a request against a model; returns the prompt as int64.

    Raises:
        ValueError: A setting is outside its range, an id outside the vocabulary, a stop is empty, or the prompt is
            longer than the context.
    """
    prompt = check_ids(request.prompt, config, "prompt")
    if len(prompt) > config.context_length:
        raise ValueError(f"the prompt has {len(prompt)} tokens, the model's context is {config.context_length}")
    if request.num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {request.num_samples}")
    if request.max_tokens is not None and request.max_tokens < 1:
        raise ValueError(f"max_tokens must be at least 1, got {request.max_tokens}")
    if not (math.isfinite(request.temperature) and request.temperature >= 0):
        raise ValueError(f"temperature must be finite and not negative, got {request.temperature}")
    if request.top_k < -1:
        raise ValueError(f"top_k must be -1 or more, got {request.top_k}")
    if not 0 < request.top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, got {request.top_p}")
    _check_scores(request, prompt, config)
    for stop in request.stop or ():
        if len(stop) == 0:
            raise ValueError("a stop must not be empty")
        if not isinstance(stop, str):
            check_ids(stop, config, "stop")
    return prompt


def _check_scores(request: SampleRequest, prompt: Ints, config: ModelConfig) -> None:
    for name in ("topk_prompt_logprobs", "topk_sample_logprobs"):
        if not 0 <= getattr(request, name) <= config.vocab_size:
            raise ValueError(f"{name} must be 0 to {config.vocab_size}, got {getattr(request, name)}")
    last_n, targets = request.prompt_logprobs_last_n, request.target_prompt_logprobs
    if last_n is not None:
        if not request.prompt_logprobs:
            raise ValueError("prompt_logprobs_last_n needs prompt_logprobs")
        if not 1 <= last_n < len(prompt):
            raise ValueError(f"prompt_logprobs_last_n must be 1 to {len(prompt) - 1} for this prompt, got {last_n}")
    if targets is None:
        return
    if targets.ndim != 2 or len(targets) != len(prompt) - 1:
        raise ValueError(
            f"target_prompt_logprobs has shape {targets.shape}, a prompt of {len(prompt)} tokens needs "
            f"({len(prompt) - 1}, K)"
        )
    if targets.dtype.kind not in "iu":
        raise ValueError(f"target_prompt_logprobs must be integers, got {targets.dtype}")
    outside = targets[(targets < -1) | (targets >= config.vocab_size)]
    if outside.size:
        raise ValueError(
            f"target_prompt_logprobs contain id {outside.flat[0]}, outside the vocabulary of {config.vocab_size}"
        )
