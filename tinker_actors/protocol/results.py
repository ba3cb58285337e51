"""Results: bytes from a server, decoded into the public types.

Servers differ in details that carry no meaning; those are tolerated here, so that nothing above has to know them.
An answer that is not understood is an error with the beginning of what came.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from tinker_actors.errors import APIResponseValidationError, InvalidInputError
from tinker_actors.protocol.codec import decode, preview
from tinker_actors.protocol.protobuf import results as protobuf_results
from tinker_actors.types.sampling import SampledSequence, SampleResponse, StopReason, TopkLogprobs
from tinker_actors.types.service import GetServerCapabilitiesResponse, SupportedModel
from tinker_actors.types.tensors import TensorData
from tinker_actors.types.training import (
    ForwardBackwardOutput,
    GetInfoResponse,
    LoadWeightsResponse,
    LossFnOutput,
    ModelData,
    OptimStepResponse,
    SaveWeightsForSamplerResponse,
    SaveWeightsResponse,
)
from tinker_actors.types.wire import (
    ClientConfigResponse,
    CreateModelResponse,
    CreateSamplingSessionResponse,
    CreateSessionResponse,
    GetSamplerResponse,
    WeightsInfoResponse,
    WireTensor,
)

T = TypeVar("T")

_DEFAULT_OUTPUT_TYPE = "ArrayRecord"


class _Output(msgspec.Struct):
    loss_fn_outputs: list[dict[str, WireTensor]]
    loss_fn_output_type: str | None = None
    metrics: dict[str, float | None] | None = None


class _Sequence(msgspec.Struct):
    stop_reason: StopReason
    tokens: list[int]
    logprobs: list[float] | None = None


class _SequenceWithNulls(msgspec.Struct):
    stop_reason: StopReason
    tokens: list[int]
    logprobs: list[float | None] | None = None


class _Sample(msgspec.Struct):
    sequences: list[_Sequence]
    prompt_logprobs: list[float | None] | None = None
    topk_prompt_logprobs: list[TopkLogprobs | None] | None = None
    prompt_cache_hit_tokens: int | None = None


class _SampleWithNulls(msgspec.Struct):
    sequences: list[_SequenceWithNulls]
    prompt_logprobs: list[float | None] | None = None
    topk_prompt_logprobs: list[TopkLogprobs | None] | None = None
    prompt_cache_hit_tokens: int | None = None


class _Metrics(msgspec.Struct):
    metrics: dict[str, float | None] | None = None


class _SavedForSampler(msgspec.Struct):
    path: str | None = None
    sampling_session_id: str | None = None


class _Info(msgspec.Struct):
    model_id: str
    model_data: ModelData | None = None
    is_lora: bool | None = None
    lora_rank: int | None = None
    model_name: str | None = None


class _Capability(msgspec.Struct):
    model_name: str | None = None
    model_id: str | None = None
    max_context_length: int | None = None
    trainable: bool | None = None
    sampleable: bool | None = None


class _Capabilities(msgspec.Struct):
    supported_models: list[str | _Capability]


def _read(content_type: str, body: bytes, kind: type[T], what: str) -> T:
    """Decode a JSON answer.

    Raises:
        APIResponseValidationError: another Content-Type, no JSON, or not of that shape.
    """
    if content_type not in ("", "text/plain") and not content_type.partition(";")[0].strip().lower().endswith("json"):
        raise APIResponseValidationError(
            f"The server's {what} came as {content_type!r}, which is not understood here. "
            f"It begins with {preview(body)}."
        )
    return decode(body, kind, what=what)


# ---------------------------------------------------------------- training


def forward_backward_output(content_type: str, body: bytes) -> ForwardBackwardOutput:
    """Decode the result of one `forward_backward` or `forward` request.

    Missing metrics are none at all; a null in them is NaN.

    Raises:
        APIResponseValidationError: not understood.
    """
    if "protobuf" in content_type.lower():
        return protobuf_results.forward_backward_output(body)
    what = "forward_backward result"
    output = _read(content_type, body, _Output, what)
    try:
        records = [_record(record) for record in output.loss_fn_outputs]
    except InvalidInputError as error:
        raise APIResponseValidationError(
            f"The server's {what} has a tensor that can't be understood: {error} It begins with {preview(body)}."
        ) from error
    return ForwardBackwardOutput(
        loss_fn_output_type=output.loss_fn_output_type or _DEFAULT_OUTPUT_TYPE,
        loss_fn_outputs=records,
        metrics=_with_nan(output.metrics) or {},
    )


def _record(record: dict[str, WireTensor]) -> LossFnOutput:
    return {name: _tensor(tensor) for name, tensor in record.items()}


def _tensor(tensor: WireTensor) -> TensorData:
    dtype: Any = tensor.dtype  # TensorData refuses what it does not know
    return TensorData(tensor.data, dtype, tensor.shape, tensor.sparse_crow_indices, tensor.sparse_col_indices)


def _with_nan(metrics: dict[str, float | None] | None) -> dict[str, float] | None:
    """JSON has no NaN; servers write null for it."""
    if metrics is None:
        return None
    return {name: math.nan if value is None else value for name, value in metrics.items()}


def optim_step_response(content_type: str, body: bytes) -> OptimStepResponse:
    """Decode the result of an `optim_step`.

    Raises:
        APIResponseValidationError: not understood.
    """
    return OptimStepResponse(_with_nan(_read(content_type, body, _Metrics, "optim_step result").metrics))


# ---------------------------------------------------------------- checkpoints


def save_weights_response(content_type: str, body: bytes) -> SaveWeightsResponse:
    """Decode the result of a `save_weights`.

    Raises:
        APIResponseValidationError: not understood, or without a path.
    """
    return _read(content_type, body, SaveWeightsResponse, "save_weights result")


def load_weights_response(content_type: str, body: bytes) -> LoadWeightsResponse:
    """Decode the result of a `load_weights`.

    Raises:
        APIResponseValidationError: not understood.
    """
    return _read(content_type, body, LoadWeightsResponse, "load_weights result")


def save_for_sampler_response(content_type: str, body: bytes) -> SaveWeightsForSamplerResponse:
    """Decode the result of a `save_weights_for_sampler`, named or not.

    Raises:
        APIResponseValidationError: not understood, or with neither a path nor a sampler.
    """
    saved = _read(content_type, body, _SavedForSampler, "save_weights_for_sampler result")
    if saved.path is None and saved.sampling_session_id is None:
        raise APIResponseValidationError(
            f"The server's save_weights_for_sampler result has neither path nor sampling_session_id: {preview(body)}."
        )
    return SaveWeightsForSamplerResponse(saved.path, saved.sampling_session_id)


def weights_info_response(content_type: str, body: bytes) -> WeightsInfoResponse:
    """Decode the answer of `weights_info`.

    Raises:
        APIResponseValidationError: not understood.
    """
    return _read(content_type, body, WeightsInfoResponse, "weights_info answer")


# ---------------------------------------------------------------- sampling


def sample_response(
    content_type: str,
    body: bytes,
    num_prompt_tokens: int,
    weights_version: int | None = None,
    sequence_ids: Sequence[str] | None = None,
) -> SampleResponse:
    """Decode the result of a sample request.

    Servers that leave out the prompt's first token, which nothing predicts, get their leading None; an empty list of
    prompt logprobs is none at all.

    Args:
        content_type: media type of `body`.
        body: the result.
        num_prompt_tokens: tokens in the prompt, or 0 when an image in it does not say how many it is.
        weights_version: passed on to the response.
        sequence_ids: the names the submit reply gave to the sequences, in order; ignored when their number differs.

    Raises:
        APIResponseValidationError: not understood.
    """
    if "protobuf" in content_type.lower():
        return protobuf_results.sample_response(body, num_prompt_tokens, weights_version, sequence_ids)
    result = _sample(content_type, body)
    names: Sequence[str | None] = sequence_ids or ()
    if len(names) != len(result.sequences):
        names = [None] * len(result.sequences)
    return SampleResponse(
        sequences=[
            SampledSequence(sequence.stop_reason, sequence.tokens, sequence.logprobs, name)
            for sequence, name in zip(result.sequences, names, strict=True)
        ],
        prompt_logprobs=_per_prompt_token(result.prompt_logprobs, num_prompt_tokens),
        topk_prompt_logprobs=_per_prompt_token(result.topk_prompt_logprobs, num_prompt_tokens),
        prompt_cache_hit_tokens=result.prompt_cache_hit_tokens or 0,
        weights_version=weights_version,
    )


def _sample(content_type: str, body: bytes) -> _Sample:
    """Decode a sample; where a logprob is null, which is rare, once more, and null is NaN."""
    try:
        return _read(content_type, body, _Sample, "sample result")
    except APIResponseValidationError:
        sample = _read(content_type, body, _SampleWithNulls, "sample result")
    return _Sample(
        [_Sequence(each.stop_reason, each.tokens, _without_nulls(each.logprobs)) for each in sample.sequences],
        sample.prompt_logprobs,
        sample.topk_prompt_logprobs,
        sample.prompt_cache_hit_tokens,
    )


def _without_nulls(logprobs: list[float | None] | None) -> list[float] | None:
    if logprobs is None:
        return None
    return [math.nan if value is None else value for value in logprobs]


def _per_prompt_token(values: list[T | None] | None, num_prompt_tokens: int) -> list[T | None] | None:
    if values is None:
        return None
    if len(values) == num_prompt_tokens - 1:
        return [None, *values]
    return values or None


def create_sampling_session_response(content_type: str, body: bytes) -> CreateSamplingSessionResponse:
    """Decode the answer of `create_sampling_session`.

    Raises:
        APIResponseValidationError: not understood.
    """
    return _read(content_type, body, CreateSamplingSessionResponse, "create_sampling_session answer")


def get_sampler_response(content_type: str, body: bytes) -> GetSamplerResponse:
    """Decode the answer of `samplers/{id}`.

    Raises:
        APIResponseValidationError: not understood.
    """
    return _read(content_type, body, GetSamplerResponse, "samplers answer")


# ---------------------------------------------------------------- service, session, models


def client_config_response(content_type: str, body: bytes) -> ClientConfigResponse:
    """Decode the answer of `client/config`.

    Raises:
        APIResponseValidationError: not understood.
    """
    return _read(content_type, body, ClientConfigResponse, "client/config answer")


def create_session_response(content_type: str, body: bytes) -> CreateSessionResponse:
    """Decode the answer of `create_session`.

    Raises:
        APIResponseValidationError: not understood.
    """
    return _read(content_type, body, CreateSessionResponse, "create_session answer")


def create_model_response(content_type: str, body: bytes) -> CreateModelResponse:
    """Decode the result of a `create_model`.

    Raises:
        APIResponseValidationError: not understood, or without a model id.
    """
    return _read(content_type, body, CreateModelResponse, "create_model result")


def get_info_response(content_type: str, body: bytes) -> GetInfoResponse:
    """Decode the answer of `get_info`. Of `tokenizer_id`, what is behind a colon is cut (wire protocol 2.2).

    Raises:
        APIResponseValidationError: not understood.
    """
    info = _read(content_type, body, _Info, "get_info answer")
    model = info.model_data or ModelData()
    if model.tokenizer_id is not None:
        model.tokenizer_id = model.tokenizer_id.partition(":")[0]
    return GetInfoResponse(info.model_id, model, info.is_lora, info.lora_rank, info.model_name or model.model_name)


def capabilities_response(content_type: str, body: bytes) -> GetServerCapabilitiesResponse:
    """Decode the answer of `get_server_capabilities`. A model may be a bare name, or named by `model_id`.

    Raises:
        APIResponseValidationError: not understood.
    """
    models = _read(content_type, body, _Capabilities, "get_server_capabilities answer").supported_models
    return GetServerCapabilitiesResponse([_supported(model) for model in models])


def _supported(model: str | _Capability) -> SupportedModel:
    if isinstance(model, str):
        return SupportedModel(model_name=model)
    return SupportedModel(
        model_name=model.model_name or model.model_id,
        max_context_length=model.max_context_length,
        trainable=model.trainable,
        sampleable=model.sampleable,
    )
