"""Serving: the server's side of the dialect, requests into arrays and arrays into results.

A request becomes the very records that a JSON one becomes, with arrays in place of lists. What is wrong with one is
ValueError, for the server to say in its own words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Protocol

import numpy as np

from tinker_actors.protocol.codec.protobuf.arrays import raw, tensor_parts
from tinker_actors.protocol.codec.protobuf.schema import FLOAT32, INT64, LENGTH, STOP, messages
from tinker_actors.protocol.codec.wire_json import base64_text
from tinker_actors.types.arrays import Array
from tinker_actors.types.sampling import TopkArrays, topk_arrays
from tinker_actors.types.tensors import TensorData
from tinker_actors.types.wire import (
    ForwardBackwardInput,
    ForwardBackwardRequest,
    ForwardRequest,
    WireChunk,
    WireDatum,
    WireModelInput,
    WireTensor,
)

Ranked = Sequence[Sequence[tuple[int, float]] | None]
"""Per token None or the likeliest `(token, logprob)`."""


class Completed(Protocol):
    """A drawn sequence: its tokens, their log-probabilities, and `"stop"` or `"length"`."""

    @property
    def tokens(self) -> Sequence[int] | Array:
        """The new token ids."""
        ...

    @property
    def logprobs(self) -> Sequence[float | None] | Array | None:
        """Log-probability of each of them (None is NaN), or None."""
        ...

    @property
    def stop_reason(self) -> str:
        """Why it ended."""
        ...


# ---------------------------------------------------------------- requests


def parse_forward_backward_request(body: bytes) -> Any:
    """Return a ForwardBackwardRequest message, of which only the fields can be trusted to be there.

    Raises:
        ValueError: no such message.
    """
    kinds = messages()
    try:
        return kinds.ForwardBackwardRequest.FromString(body)
    except kinds.decode_error as error:
        raise ValueError(f"not a ForwardBackwardRequest message: {error}") from error


def forward_backward_request(request: Any) -> ForwardBackwardRequest | ForwardRequest:
    """Return the record of a parsed message; with `forward_only` it is a ForwardRequest.

    Token ids are int32 arrays, tensors int64 or float32 arrays, CSR indices int64 arrays, images base64 text. A missing
    `seq_id` is 0. Provenance spans are left out.

    Raises:
        ValueError: the message contradicts itself; says which datum.
    """
    data = []
    for index, datum in enumerate(request.data):
        try:
            data.append(_datum(datum))
        except ValueError as error:
            raise ValueError(f"datum {index}: {error}") from error
    given = ForwardBackwardInput(data=data, loss_fn=request.loss_fn, loss_fn_config=_config(request))
    if request.forward_only:
        return ForwardRequest(forward_input=given, model_id=request.model_id, seq_id=request.seq_id)
    return ForwardBackwardRequest(forward_backward_input=given, model_id=request.model_id, seq_id=request.seq_id)


def decode_forward_backward_request(body: bytes) -> ForwardBackwardRequest | ForwardRequest:
    """Do both: parse, and return the record.

    Raises:
        ValueError: no such message, or one that contradicts itself.
    """
    return forward_backward_request(parse_forward_backward_request(body))


def _config(request: Any) -> dict[str, Any] | None:
    """Return the loss's configuration from the newer of the two fields, if it is there."""
    if not request.loss_fn_config_v2:
        return dict(request.loss_fn_config) or None
    config = {}
    for name, value in request.loss_fn_config_v2.items():
        kind = value.WhichOneof("value")
        if kind is None:
            raise ValueError(f"loss_fn_config_v2 has no value for {name!r}")
        config[name] = getattr(value, kind)
    return config


def _datum(datum: Any) -> WireDatum:
    return WireDatum(
        model_input=WireModelInput([_chunk(chunk) for chunk in datum.model_input]),
        loss_fn_inputs={name: _tensor(tensor, name) for name, tensor in datum.loss_fn_inputs.items()},
    )


def _chunk(chunk: Any) -> WireChunk:
    kind = chunk.WhichOneof("chunk")
    if kind == "encoded_text":
        tokens: Any = raw(chunk.encoded_text.tokens, "<i4", "model_input")  # an array where JSON has a list
        return WireChunk(type=kind, tokens=tokens)
    if kind == "image":
        image = chunk.image
        return WireChunk(
            type=kind,
            data=base64_text(image.data),
            format=image.format,
            expected_tokens=image.expected_tokens if image.HasField("expected_tokens") else None,
        )
    if kind == "dmel":
        return WireChunk(type=kind, dmel=base64_text(chunk.dmel.dmel))
    raise ValueError("model_input has a chunk of no known kind")


def _tensor(tensor: Any, name: str) -> WireTensor:
    parts = tensor_parts(tensor, name)
    values: Any = parts.values  # arrays where JSON has lists
    rows: Any = parts.crow_indices
    columns: Any = parts.col_indices
    return WireTensor(values, parts.dtype, parts.shape, rows, columns)


# ---------------------------------------------------------------- results


def encode_forward_backward_output(
    outputs: Sequence[Mapping[str, Array]], metrics: Mapping[str, float], output_type: str = "ArrayRecord"
) -> bytes:
    """Encode the result of a forward or forward_backward.

    Args:
        outputs: per datum, arrays by name: integers are sent as int64, all else as float32; a scalar as one value.
        metrics: numbers by name.
        output_type: the name of the kind of outputs.
    """
    result = messages().ForwardBackwardOutput(loss_fn_output_type=output_type, metrics=metrics)
    arrays = [{name: np.atleast_1d(values) for name, values in output.items()} for output in outputs]
    for _, group in groupby(arrays, _likeness):
        record = result.loss_fn_outputs.add(type_tag=output_type)
        datums = list(group)
        record.num_datums = len(datums)
        for name in datums[0]:
            _batch(record.fields[name], [datum[name] for datum in datums])
    encoded: bytes = result.SerializeToString()
    return encoded


def _likeness(output: Mapping[str, Array]) -> list[tuple[Any, ...]]:
    """Return what the outputs of one record have in common."""
    return [(name, values.dtype.kind in "iu", values.shape[1:]) for name, values in sorted(output.items())]


def _batch(field: Any, arrays: Sequence[Array]) -> None:
    integers = arrays[0].dtype.kind in "iu"
    joined = np.concatenate(arrays).astype("<i8" if integers else "<f4")
    ends = np.cumsum([0, *(values.size for values in arrays)]) * joined.itemsize
    field.data = joined.tobytes()
    field.offsets = ends.astype("<i8").tobytes()
    field.dtype = INT64 if integers else FLOAT32
    field.trailing_shape.extend(joined.shape[1:])


def encode_sample_response(
    completions: Sequence[Completed],
    prompt_logprobs: Sequence[float | None] | Array | None = None,
    topk_prompt_logprobs: Ranked | None = None,
    *,
    topk_sampled_logprobs: Sequence[Ranked | None] = (),
    target_prompt_logprobs: TensorData | Array | None = None,
    prompt_cache_hit_tokens: int = 0,
) -> bytes:
    """Encode the result of a sample request.

    Args:
        completions: the sequences, in order.
        prompt_logprobs: per prompt token a number, or None or NaN.
        topk_prompt_logprobs: per prompt token None or the likeliest `(token, logprob)`.
        topk_sampled_logprobs: per sequence the same for its tokens, or None; empty when not asked for.
        target_prompt_logprobs: float32, in the request's shape; an array, or a tensor that may be sparse.
        prompt_cache_hit_tokens: prompt tokens that were in a cache.
    """
    result = messages().SampleResponse(prompt_cache_hit_tokens=prompt_cache_hit_tokens)
    for completion, ranked in zip(completions, _or_nones(topk_sampled_logprobs, len(completions)), strict=True):
        sequence = result.sequences.add()
        sequence.stop_reason = {"stop": STOP, "length": LENGTH}[completion.stop_reason]
        sequence.tokens = np.asarray(completion.tokens, "<i4").tobytes()
        if completion.logprobs is not None:
            sequence.logprobs = np.asarray(completion.logprobs, "<f4").tobytes()
        if ranked is not None:
            _rank(sequence.topk_sampled_logprobs, topk_arrays(ranked))
    if prompt_logprobs is not None:
        result.prompt_logprobs = np.asarray(prompt_logprobs, "<f4").tobytes()
    if topk_prompt_logprobs is not None:
        _rank(result.topk_prompt_logprobs, topk_arrays(topk_prompt_logprobs))
    if target_prompt_logprobs is not None:
        if not isinstance(target_prompt_logprobs, TensorData):
            target_prompt_logprobs = TensorData.from_numpy(np.asarray(target_prompt_logprobs, np.float32))
        _put(result.target_prompt_logprobs, target_prompt_logprobs)
    encoded: bytes = result.SerializeToString()
    return encoded


def _put(message: Any, tensor: TensorData) -> None:
    values = tensor._array.astype("<f4").tobytes()
    if tensor.sparse_crow_indices is None:
        message.dense = values
    else:
        message.sparse_csr.values = values
        message.sparse_csr.crow_indices = np.asarray(tensor.sparse_crow_indices, "<i8").tobytes()
        message.sparse_csr.col_indices = np.asarray(tensor.sparse_col_indices, "<i8").tobytes()
    message.dtype = FLOAT32
    message.shape.extend(tensor.shape or ())


def _or_nones(ranked: Sequence[Ranked | None], count: int) -> Iterator[Ranked | None]:
    yield from ranked or [None] * count


def _rank(message: Any, arrays: TopkArrays) -> None:
    token_ids, logprobs = arrays
    message.token_ids = token_ids.astype("<i4").tobytes()
    message.logprobs = logprobs.astype("<f4").tobytes()
    message.length, message.k = token_ids.shape
