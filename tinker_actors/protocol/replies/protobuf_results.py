"""Results: protobuf answers of a server, decoded into the public types without a loop over tokens.

An answer that contradicts itself is an error with the beginning of what came, never numbers that nobody sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from tinker_actors.errors import APIResponseValidationError
from tinker_actors.protocol.codec.protobuf.arrays import batched, raw, tensor_parts, topk
from tinker_actors.protocol.codec.protobuf.schema import LENGTH, STOP, messages
from tinker_actors.protocol.codec.wire_json import not_of_that_shape
from tinker_actors.protocol.replies.result_checks import check_bytes, check_sequences, whole_outputs
from tinker_actors.types.arrays import Array
from tinker_actors.types.sampling import EMPTY_CELL, SampledSequence, SampleResponse, StopReason, TopkArrays
from tinker_actors.types.tensors import TensorData
from tinker_actors.types.training import ForwardBackwardOutput, LossFnOutput

T = TypeVar("T")

_DEFAULT_OUTPUT_TYPE = "ArrayRecord"
_STOP_REASONS: dict[int, StopReason] = {STOP: "stop", LENGTH: "length"}
_OFFSET_BYTES = 8

MOST_DATUMS = 1 << 20
"""Datums a result may count without showing an output for them; far more than a request can hold."""


def _read(name: str, body: bytes, what: str, read: Callable[..., T], *arguments: Any) -> T:
    """Parse the message `name` and read it; what is wrong with either is the server's mistake."""
    if not body:  # which protobuf takes for a message without fields
        raise APIResponseValidationError(f"The server's {what} is empty.")
    kinds = messages()
    try:
        return read(getattr(kinds, name).FromString(body), *arguments)
    except (kinds.decode_error, ValueError, OverflowError) as error:  # InvalidInputError is a ValueError
        raise not_of_that_shape(body, what, error) from error


# ---------------------------------------------------------------- training


def forward_backward_output(body: bytes, expected: int = 0) -> ForwardBackwardOutput:
    """Decode the result of one `forward_backward` or `forward` request.

    The datums' tensors are writable views of one array per field and record.

    Args:
        body: the result.
        expected: how many examples were sent; 0 when that is not known here.

    Raises:
        APIResponseValidationError: not understood.
    """
    return _read("ForwardBackwardOutput", body, "forward_backward result", _read_output, expected)


def _read_output(message: Any, expected: int) -> ForwardBackwardOutput:
    outputs: list[LossFnOutput] = []
    for record in message.loss_fn_outputs:
        outputs += _read_record(record)
    named = message.loss_fn_output_type
    if not named and message.loss_fn_outputs:
        named = message.loss_fn_outputs[0].type_tag
    return ForwardBackwardOutput(
        loss_fn_output_type=named.rpartition(":")[2] or _DEFAULT_OUTPUT_TYPE,
        loss_fn_outputs=whole_outputs(outputs, expected),
        metrics=dict(message.metrics),
    )


def _read_record(record: Any) -> list[LossFnOutput]:
    """Return a record's datums. `num_datums` counts, for a server may leave out every field and still say how many."""
    fields = record.fields
    count = record.num_datums
    if not count and fields:
        count = max(0, len(next(iter(fields.values())).offsets) // _OFFSET_BYTES - 1)
    if not 0 <= count <= MOST_DATUMS:
        raise ValueError(f"a record has {count} datums")
    outputs: list[LossFnOutput] = [{} for _ in range(count)]
    for name, field in fields.items():
        for output, values in zip(outputs, batched(field, count, f"the output {name!r}"), strict=True):
            output[name] = TensorData.from_numpy(values)
    return outputs


# ---------------------------------------------------------------- sampling


def sample_response(
    body: bytes,
    num_prompt_tokens: int,
    weights_version: int | None = None,
    sequence_ids: Sequence[str] | None = None,
    expected: int = 0,
) -> SampleResponse:
    """Decode the result of a sample request.

    Servers that leave out the prompt's first token, which nothing predicts, get their leading NaN; empty prompt
    logprobs are none at all.

    Args:
        body: the result.
        num_prompt_tokens: tokens in the prompt, or 0 when an image in it does not say how many it is.
        weights_version: passed on to the response.
        sequence_ids: the names the submit reply gave to the sequences, in order; ignored when their number differs.
        expected: how many sequences were asked for; 0 when that is not known here.

    Raises:
        APIResponseValidationError: not understood.
    """
    given = (num_prompt_tokens, weights_version, sequence_ids or (), expected)
    return _read("SampleResponse", body, "sample result", _read_sample, *given)


def _read_sample(
    message: Any,
    num_prompt_tokens: int,
    weights_version: int | None,
    sequence_ids: Sequence[str | None],
    expected: int,
) -> SampleResponse:
    sequences = message.sequences
    if len(sequence_ids) != len(sequences):
        sequence_ids = [None] * len(sequences)
    logprobs = ranked = target = None
    if message.HasField("prompt_logprobs"):
        logprobs = _per_prompt_token(raw(message.prompt_logprobs, "<f4", "prompt_logprobs"), num_prompt_tokens)
    if message.HasField("topk_prompt_logprobs"):
        ranked = _ranked_per_prompt_token(topk(message.topk_prompt_logprobs, "topk_prompt_logprobs"), num_prompt_tokens)
    if message.HasField("target_prompt_logprobs"):
        target = _tensor(message.target_prompt_logprobs, "target_prompt_logprobs")
    drawn = []
    for each, name in zip(sequences, sequence_ids, strict=True):  # a list made of it would be a call more
        drawn.append(_read_sequence(each, name))
    check_sequences(drawn, expected)
    return SampleResponse(
        sequences=drawn,
        prompt_logprobs=logprobs,
        topk_prompt_logprobs=ranked,
        prompt_cache_hit_tokens=message.prompt_cache_hit_tokens,
        weights_version=weights_version,
        target_prompt_logprobs=target,
    )


def _read_sequence(message: Any, name: str | None) -> SampledSequence:
    reason = _STOP_REASONS.get(message.stop_reason)
    if reason is None:
        raise ValueError(f"a sequence has the stop reason number {message.stop_reason}, which is not known")
    data: bytes = message.tokens
    scores: bytes = message.logprobs
    check_bytes(data, scores)
    scored = bool(scores) or (message.HasField("logprobs") and not data)
    ranked = None
    if message.HasField("topk_sampled_logprobs"):
        ranked = topk(message.topk_sampled_logprobs, "a sequence's topk_sampled_logprobs")
    # As bytes: arrays and lists are made of them where they are looked at, by whoever does.
    return SampledSequence(reason, data, scores if scored else None, name, ranked)


def _per_prompt_token(values: Array, num_prompt_tokens: int) -> Array | None:
    if len(values) == num_prompt_tokens - 1:
        return np.concatenate((np.full(1, np.nan, np.float32), values))
    return values if len(values) else None


def _ranked_per_prompt_token(arrays: TopkArrays | None, num_prompt_tokens: int) -> TopkArrays | None:
    if arrays is None or len(arrays[0]) != num_prompt_tokens - 1:
        return arrays
    token_ids, logprobs = arrays
    return np.pad(token_ids, ((1, 0), (0, 0))), np.pad(logprobs, ((1, 0), (0, 0)), constant_values=EMPTY_CELL)


def _tensor(message: Any, what: str) -> TensorData:
    parts = tensor_parts(message, what)
    rows, columns = parts.crow_indices, parts.col_indices
    return TensorData(
        parts.values,
        parts.dtype,
        parts.shape,
        None if rows is None else rows.tolist(),
        None if columns is None else columns.tolist(),
    )
