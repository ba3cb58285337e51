"""Scores of tokens that were not drawn: a prompt's own, the most probable ones, and any that a request names."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from tinker_actors.local.engine.arrays import Floats, Ints
from tinker_actors.local.engine.layers import Linear
from tinker_actors.local.engine.sampling import SampleRequest, TopTokens
from tinker_actors.local.engine.unembed import log_probabilities, pieces


class PromptScores(msgspec.Struct, eq=False):
    """What a request asked for about its prompt; see the fields of `SampleResult`."""

    prompt_logprobs: list[float | None] | None = None
    topk_prompt_logprobs: list[TopTokens | None] | None = None
    target_prompt_logprobs: npt.NDArray[np.float32] | None = None


def score_prompt(request: SampleRequest, prompt: Ints, h: Floats, head: Linear) -> PromptScores:
    """Score a prompt as a request asks for it.

    Args:
        request: What is wanted.
        prompt: [length], the prompt's ids.
        h: [length, width], behind the final norm; a position is scored by the row before it.
        head: The unembedding.
    """
    scores = _nothing_scored(request, len(prompt))
    count = len(prompt) - 1
    listed = count if request.prompt_logprobs_last_n is None else request.prompt_logprobs_last_n
    first_listed = count - listed if request.prompt_logprobs or request.topk_prompt_logprobs else count
    first = min(first_listed, _first_with_targets(request, count))
    for piece in pieces(count - first, len(head.weight)):
        rows = slice(first + piece.start, first + piece.stop)
        precise, _ = log_probabilities(head, h[rows])
        logprobs = precise.astype(np.float32, copy=False)
        if scores.target_prompt_logprobs is not None and request.target_prompt_logprobs is not None:
            scores.target_prompt_logprobs[rows] = _of_targets(logprobs, request.target_prompt_logprobs[rows])
        skip = max(0, first_listed - rows.start)
        places = range(rows.start + skip + 1, rows.stop + 1)
        if not places:
            continue
        if scores.prompt_logprobs is not None:
            own = logprobs[np.arange(skip, len(logprobs)), prompt[places.start : places.stop]]
            scores.prompt_logprobs[places.start : places.stop] = own.tolist()
        if scores.topk_prompt_logprobs is not None:
            best = top_tokens(logprobs[skip:], request.topk_prompt_logprobs)
            scores.topk_prompt_logprobs[places.start : places.stop] = best
    return scores


def top_tokens(logprobs: Floats, count: int) -> list[TopTokens]:
    """The most probable tokens of each row of [rows, vocab], the lowest id first among equals."""
    worst = np.partition(logprobs, -count, axis=1)[:, -count]
    found: list[TopTokens] = []
    for row, least in zip(logprobs, worst, strict=True):
        candidates = np.flatnonzero(row >= least)
        best = candidates[np.argsort(-row[candidates], kind="stable")[:count]]
        found.append(list(zip(best.tolist(), row[best].tolist(), strict=True)))
    return found


def _nothing_scored(request: SampleRequest, length: int) -> PromptScores:
    scores = PromptScores()
    if request.prompt_logprobs:
        scores.prompt_logprobs = [None] * length
    if request.topk_prompt_logprobs:
        scores.topk_prompt_logprobs = [None] * length
    if request.target_prompt_logprobs is not None:
        scores.target_prompt_logprobs = np.zeros(request.target_prompt_logprobs.shape, np.float32)
    return scores


def _first_with_targets(request: SampleRequest, count: int) -> int:
    """The first row that has a target to score; `count` if none has."""
    if request.target_prompt_logprobs is None:
        return count
    wanted = np.flatnonzero((request.target_prompt_logprobs >= 0).any(axis=1))
    return int(wanted[0]) if wanted.size else count


def _of_targets(logprobs: Floats, targets: npt.NDArray[np.integer]) -> Floats:
    """[rows, K], the log-probability of each target, 0 where there is none."""
    values: Floats = np.take_along_axis(logprobs, np.maximum(targets, 0).astype(np.int64), axis=1)
    values[targets < 0] = 0.0
    return values
