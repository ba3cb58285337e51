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
        max_tokens: Most tokens of a completion; None means as many as the context has room for, which is the limit
            anyhow.
        temperature: Divides the logits; 0 takes the most probable token.
        top_k: Draw among the k most probable tokens; -1 or 0 means all.
        top_p: Draw among the fewest most probable tokens that together have at least this probability (behind top_k).
        seed: Completion i draws from a generator seeded with (seed, i); None takes the system's entropy.
        stop: Strings and token sequences, each of which ends a completion that contains it; None means the model's
            end-of-sequence tokens, () means nothing.
        prompt_logprobs: Whether to score the prompt's own tokens.
        topk_prompt_logprobs: How many most probable tokens to report for each position of the prompt.
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


class SampledSequence(msgspec.Struct, frozen=True, eq=False):
    """One completion.

    Attributes:
        tokens: [length] int32, including those that made it stop.
        logprobs: [length] float32, log-probability of each token at temperature 1 among the whole vocabulary,
            whatever the temperature, top_k and top_p by which it was drawn.
        stop_reason: "stop" if a stop rule ended it, "length" if it ran out of room.
    """

    tokens: npt.NDArray[np.int32]
    logprobs: npt.NDArray[np.float32]
    stop_reason: StopReason


class SampleResult(msgspec.Struct, frozen=True, eq=False):
    """All completions of one prompt.

    Attributes:
        sequences: One per sample, in order of their number.
        prompt_logprobs: One per prompt token, None for the first; None if not asked for.
        topk_prompt_logprobs: The same for the most probable tokens at each position.
    """

    sequences: list[SampledSequence]
    prompt_logprobs: list[float | None] | None = None
    topk_prompt_logprobs: list[TopTokens | None] | None = None


def check_sample_request(request: SampleRequest, config: ModelConfig) -> Ints:
    """Check a request against a model; returns the prompt as int64.

    Raises:
        ValueError: A setting is outside its range, an id outside the vocabulary, a stop is empty, or the prompt leaves
            no room in the context.
    """
    prompt = check_ids(request.prompt, config, "prompt")
    if len(prompt) >= config.context_length:
        raise ValueError(
            f"the prompt has {len(prompt)} tokens; the model's context of {config.context_length} leaves no room"
        )
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
    if not 0 <= request.topk_prompt_logprobs <= config.vocab_size:
        raise ValueError(f"topk_prompt_logprobs must be 0 to {config.vocab_size}, got {request.topk_prompt_logprobs}")
    for stop in request.stop or ():
        if len(stop) == 0:
            raise ValueError("a stop must not be empty")
        if not isinstance(stop, str):
            check_ids(stop, config, "stop")
    return prompt
