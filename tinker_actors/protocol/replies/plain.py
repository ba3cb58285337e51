"""Replies: the answers of plain request-and-response endpoints, read.

Each function takes the answer's Content-Type and its bytes, and raises `APIResponseValidationError` for what is not the
reply that was asked for. Servers call JSON by many names, so its name is not looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec

from tinker_actors.protocol.codec.wire_json import UNREADABLE, Reader, encode, not_of_that_shape, refuse_secret
from tinker_actors.protocol.replies.error_replies import json_body
from tinker_actors.protocol.replies.signals import read_signals, says_failure
from tinker_actors.types.service import GetServerCapabilitiesResponse, SupportedModel
from tinker_actors.types.training import GetInfoResponse, ModelData
from tinker_actors.types.wire import (
    ClientConfigResponse,
    CreateSamplingSessionResponse,
    CreateSessionResponse,
    GetSamplerResponse,
    UntypedAPIFuture,
    WeightsInfoResponse,
)

T = TypeVar("T")

Read = Callable[[str, bytes], Any]
"""Reads an answer's Content-Type and body into a value; raises `APIResponseValidationError` when it is not that."""

CLONE_RANGE = 1_000_000_000
"""Sample numbers per copy of a sampler, and the greatest clone id (wire protocol 6.4)."""


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


class _Joined(msgspec.Struct):
    client_counter: Annotated[int, msgspec.Meta(ge=1, le=CLONE_RANGE)]


_CLIENT_CONFIG = Reader(ClientConfigResponse)
_SESSION = Reader(CreateSessionResponse, "session_id")
_WEIGHTS_INFO = Reader(WeightsInfoResponse, "base_model")
_SAMPLING_SESSION = Reader(CreateSamplingSessionResponse, "sampling_session_id")
_JOINED = Reader(_Joined)
_SAMPLER = Reader(GetSamplerResponse, "sampler_id", "base_model", "model_path")
_INFO = Reader(_Info, "model_id", "model_name")
_CAPABILITIES = Reader(_Capabilities)
_FUTURE = Reader(UntypedAPIFuture, "request_id")


def _read(body: bytes, reader: Reader[T], what: str) -> T:
    try:
        return reader.read(body)
    except UNREADABLE as error:
        raise not_of_that_shape(body, f"{what} answer", error) from error


def _refuse_secrets(body: bytes, what: str, *parts: msgspec.Struct) -> None:
    for part in parts:
        for name, value in msgspec.structs.asdict(part).items():
            if isinstance(value, str):
                try:
                    refuse_secret(name, value)
                except ValueError as error:
                    raise not_of_that_shape(body, f"{what} answer", error) from error


def acknowledgement(_content_type: str, body: bytes) -> None:
    """Read an answer of which nothing is wanted but that it is no failure; it may be empty, and need not be JSON.

    Raises:
        APIResponseValidationError: it says that the request failed.
    """
    signals = read_signals(body)
    if signals is not None and says_failure(signals):
        raise not_of_that_shape(body, "answer", "it is a failure")


def client_config_response(_content_type: str, body: bytes) -> tuple[ClientConfigResponse, bytes]:
    """Read the answer of `client/config`. All of it is optional, so that a failure has to be looked for.

    Returns:
        What is understood here, and all that the server said, as plain JSON: copies of samplers take it along.

    Raises:
        APIResponseValidationError: not understood, or a failure.
    """
    signals = read_signals(body)
    if signals is not None and says_failure(signals):
        raise not_of_that_shape(body, "client/config answer", "it is a failure")
    return _read(body, _CLIENT_CONFIG, "client/config"), encode(json_body(body))


def create_session_response(_content_type: str, body: bytes) -> CreateSessionResponse:
    """Read the answer of `create_session`.

    Raises:
        APIResponseValidationError: not understood.
    """
    return _read(body, _SESSION, "create_session")


def weights_info_response(_content_type: str, body: bytes) -> WeightsInfoResponse:
    """Read the answer of `weights_info`.

    Raises:
        APIResponseValidationError: not understood.
    """
    return _read(body, _WEIGHTS_INFO, "weights_info")


def create_sampling_session_response(_content_type: str, body: bytes) -> CreateSamplingSessionResponse:
    """Read the answer of `create_sampling_session`.

    Raises:
        APIResponseValidationError: not understood.
    """
    return _read(body, _SAMPLING_SESSION, "create_sampling_session")


def join_sampling_session_response(_content_type: str, body: bytes) -> int:
    """Read the answer of `join_sampling_session`: the number of this client of the sampler.

    Raises:
        APIResponseValidationError: not understood.
    """
    return _read(body, _JOINED, "join_sampling_session").client_counter


def get_sampler_response(_content_type: str, body: bytes) -> GetSamplerResponse:
    """Read the answer of `samplers/{id}`.

    Raises:
        APIResponseValidationError: not understood.
    """
    return _read(body, _SAMPLER, "samplers")


def get_info_response(_content_type: str, body: bytes) -> GetInfoResponse:
    """Read the answer of `get_info`. Of `tokenizer_id`, what is behind a colon is cut (wire protocol 2.2).

    Raises:
        APIResponseValidationError: not understood.
    """
    info = _read(body, _INFO, "get_info")
    model = info.model_data or ModelData()
    _refuse_secrets(body, "get_info", model)
    if model.tokenizer_id is not None:
        model.tokenizer_id = model.tokenizer_id.partition(":")[0]
    return GetInfoResponse(info.model_id, model, info.is_lora, info.lora_rank, info.model_name or model.model_name)


def capabilities_response(_content_type: str, body: bytes) -> GetServerCapabilitiesResponse:
    """Read the answer of `get_server_capabilities`. A model may be a bare name, or named by `model_id`.

    Raises:
        APIResponseValidationError: not understood.
    """
    models = _read(body, _CAPABILITIES, "get_server_capabilities").supported_models
    supported = [_supported(model) for model in models]
    _refuse_secrets(body, "get_server_capabilities", *supported)
    return GetServerCapabilitiesResponse(supported)


def _supported(model: str | _Capability) -> SupportedModel:
    if isinstance(model, str):
        return SupportedModel(model_name=model)
    return SupportedModel(
        model_name=model.model_name or model.model_id,
        max_context_length=model.max_context_length,
        trainable=model.trainable,
        sampleable=model.sampleable,
    )


def future_id(_content_type: str, body: bytes) -> str:
    """Read under which id an operation was accepted."""
    return _read(body, _FUTURE, "submission").request_id
