"""Results of samples, read once, when they come: tens of thousands do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, TypeVar

import msgspec

from tinker_actors.protocol.codec.wire_json import UNREADABLE, Reader, not_of_that_shape
from tinker_actors.protocol.endpoints import TYPE_SAMPLE
from tinker_actors.protocol.replies import protobuf_results
from tinker_actors.protocol.replies.result_checks import SMALLEST_TOO_LARGE, check_sequences
from tinker_actors.protocol.replies.results import named, read_result
from tinker_actors.protocol.replies.signals import Signals
from tinker_actors.types.sampling import SampledSequence, SampleResponse, StopReason

T = TypeVar("T")

_Token = Annotated[int, msgspec.Meta(ge=0, lt=SMALLEST_TOO_LARGE)]
_Likeliest = list[list[tuple[_Token, float]] | None]


class _Sequence(msgspec.Struct):
    stop_reason: StopReason
    tokens: list[_Token]
    logprobs: list[float] | None = None


class _SequenceWithNulls(msgspec.Struct):
    stop_reason: StopReason
    tokens: list[_Token]
    logprobs: list[float | None] | None = None


class _Scored(Signals, kw_only=True):
    prompt_logprobs: list[float | None] | None = None
    topk_prompt_logprobs: _Likeliest | None = None
    prompt_cache_hit_tokens: int | None = None


class _Sample(_Scored, kw_only=True):
    sequences: list[_Sequence]


class _SampleWithNulls(_Scored, kw_only=True):
    sequences: list[_SequenceWithNulls]


_SAMPLE = msgspec.json.Decoder(_Sample)
_SAMPLE_WITH_NULLS = Reader(_SampleWithNulls)
_A_SAMPLE = ("sample", None, msgspec.UNSET)
# What nearly all samples say beside themselves: nothing. The others are looked at with care.
_SAID = (msgspec.UNSET, None, None, None, None, None, None, None, None)


def sample_response(
    content_type: str,
    body: bytes,
    num_prompt_tokens: int,
    weights_version: int | None = None,
    sequence_ids: Sequence[str] | None = None,
    expected: int = 0,
) -> SampleResponse:
    """Read the result of a sample request.

    Servers that leave out the prompt's first token, which nothing predicts, get their leading None; empty prompt
    logprobs are none at all. A null among a sequence's logprobs is NaN.

    Args:
        content_type: the answer's.
        body: the answer.
        num_prompt_tokens: tokens in the prompt, or 0 when an image in it does not say how many it is.
        weights_version: passed on to the response.
        sequence_ids: the names the submit reply gave to the sequences, in order; ignored when their number differs.
        expected: how many sequences were asked for; 0 when that is not known here.

    Raises:
        APIResponseValidationError: not understood.
    """
    if "protobuf" in content_type.lower():
        return protobuf_results.sample_response(body, num_prompt_tokens, weights_version, sequence_ids, expected)
    try:
        said: _Sample | _SampleWithNulls = _SAMPLE.decode(body)
        also = (
            said.error,
            said.error_message,
            said.errors,
            said.exception,
            said.detail,
            said.status,
            said.state,
            said.success,
            said.ok,
        )
        if also != _SAID or said.type not in _A_SAMPLE:
            named(said, TYPE_SAMPLE)
    except UNREADABLE:
        # Where a logprob is null or bare NaN, which is rare, and for whatever is wrong.
        said = read_result(content_type, body, _SAMPLE_WITH_NULLS, TYPE_SAMPLE, lambda said, _: said)
    drawn: Sequence[_Sequence | _SequenceWithNulls] = said.sequences
    names: Sequence[str | None] = sequence_ids or ()
    if len(names) != len(drawn):
        names = [None] * len(drawn)
    sequences = [
        SampledSequence(sequence.stop_reason, sequence.tokens, _without_nulls(sequence), name)
        for sequence, name in zip(drawn, names, strict=True)
    ]
    try:
        check_sequences(sequences, expected)
    except ValueError as error:
        raise not_of_that_shape(body, "sample result", error) from error
    return SampleResponse(
        sequences=sequences,
        prompt_logprobs=_per_prompt_token(said.prompt_logprobs, num_prompt_tokens),
        topk_prompt_logprobs=_per_prompt_token(said.topk_prompt_logprobs, num_prompt_tokens),
        prompt_cache_hit_tokens=said.prompt_cache_hit_tokens or 0,
        weights_version=weights_version,
    )


def _without_nulls(sequence: _Sequence | _SequenceWithNulls) -> list[float] | None:
    if isinstance(sequence, _Sequence) or sequence.logprobs is None:
        return sequence.logprobs  # type: ignore[return-value]  # there are none
    return [math.nan if value is None else value for value in sequence.logprobs]


def _per_prompt_token(values: list[T | None] | None, num_prompt_tokens: int) -> list[T | None] | None:
    if values is None:
        return None
    if len(values) == num_prompt_tokens - 1:
        return [None, *values]
    return values or None
