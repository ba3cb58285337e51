"""Results: what polls bring when an operation is over, read into the public types.

A result shows that it is one. It has the fields of the operation that was asked for, names no other operation, says
nothing of a failure, and doesn't contradict itself; whatever falls short is an `APIResponseValidationError`, and is
asked for again. Where all fields of a result are optional, one of them has to be there: `{}` is no success.

Servers differ in details that carry no meaning; those are tolerated here, so that nothing above has to know them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

import msgspec

from tinker_actors.errors import APIResponseValidationError
from tinker_actors.protocol import endpoints
from tinker_actors.protocol.codec.wire_json import UNREADABLE, Reader, not_of_that_shape
from tinker_actors.protocol.replies import protobuf_results
from tinker_actors.protocol.replies.result_checks import whole_outputs
from tinker_actors.protocol.replies.signals import Signals, plain_word, word_of
from tinker_actors.types.tensors import TensorData
from tinker_actors.types.training import (
    ForwardBackwardOutput,
    LoadWeightsResponse,
    LossFnOutput,
    OptimStepResponse,
    SaveWeightsForSamplerResponse,
    SaveWeightsResponse,
)
from tinker_actors.types.wire import CreateModelResponse, WireTensor

T = TypeVar("T")
S = TypeVar("S", bound=Signals)

_DEFAULT_OUTPUT_TYPE = "ArrayRecord"

_Name = Annotated[str, msgspec.Meta(min_length=1)]


class _Output(Signals, kw_only=True):
    loss_fn_outputs: list[dict[str, WireTensor]]
    loss_fn_output_type: str | None = None
    metrics: dict[str, float | None] | None = None


class _Stepped(Signals, kw_only=True):
    metrics: dict[str, float | None] | msgspec.UnsetType | None = msgspec.UNSET


class _Created(Signals, kw_only=True):
    model_id: _Name


class _Saved(Signals, kw_only=True):
    path: _Name


class _SavedForSampler(Signals, kw_only=True):
    path: _Name | None = None
    sampling_session_id: _Name | None = None


class _Loaded(Signals, kw_only=True):
    path: str | msgspec.UnsetType | None = msgspec.UNSET
    model_id: str | msgspec.UnsetType | None = msgspec.UNSET


# ---------------------------------------------------------------- whether it is a result, and of what

_TYPES: dict[str, tuple[str, ...]] = {
    endpoints.TYPE_CREATE_MODEL: ("create_model",),
    endpoints.TYPE_FORWARD: ("forward", "forward_backward"),
    endpoints.TYPE_FORWARD_BACKWARD: ("forward_backward", "forward"),
    endpoints.TYPE_OPTIM_STEP: ("optim_step",),
    endpoints.TYPE_SAVE_WEIGHTS: ("save_weights", "save_state"),
    endpoints.TYPE_LOAD_WEIGHTS: ("load_weights", "load_state"),
    endpoints.TYPE_SAVE_WEIGHTS_FOR_SAMPLER: ("save_weights_for_sampler",),
    endpoints.TYPE_SAMPLE: ("sample",),
}
_PLAIN_TYPES = {asked: frozenset(map(plain_word, types)) for asked, types in _TYPES.items()}
_ALL_TYPES = frozenset[str]().union(*_PLAIN_TYPES.values())


def named(said: Signals, asked: str) -> bool:
    """Return whether an answer calls itself a result of what was asked for.

    Many say nothing, and some have words of their own; only what another operation is called is refused.

    Raises:
        ValueError: it is the result of something else, or none.
    """
    word = word_of(said)
    if word is not None:
        raise ValueError("it is no result")
    kind = plain_word(said.type)
    if kind in _PLAIN_TYPES[asked]:
        return True
    if kind in _ALL_TYPES:
        raise ValueError(f"it is the result of {said.type}")
    return False


def read_result(content_type: str, body: bytes, reader: Reader[S], asked: str, make: Callable[[S, bool], T]) -> T:
    """Read a JSON result and make of it what users see.

    Args:
        content_type: the answer's.
        body: the answer.
        reader: reads it.
        asked: what was asked for, by the `X-Tinker-Request-Type` of the polls.
        make: is given what was read, and whether it calls itself a result of what was asked for; may raise ValueError.

    Raises:
        APIResponseValidationError: it is no JSON, not of that shape, no result of what was asked for, or wrong.
    """
    what = f"{_TYPES[asked][0]} result"
    try:
        said = reader.read(body)
        return make(said, named(said, asked))
    except UNREADABLE as error:
        kind = content_type.partition(";")[0].strip().lower()
        as_other = "" if not kind or kind.endswith("json") else f" (it came as {kind!r})"
        raise not_of_that_shape(body, what, f"{error}{as_other}") from error


def _with_nan(metrics: dict[str, float | None] | None) -> dict[str, float] | None:
    """JSON has no NaN; servers write null for it."""
    if metrics is None:
        return None
    return {name: math.nan if value is None else value for name, value in metrics.items()}


# ---------------------------------------------------------------- models and training

_CREATED = Reader(_Created, "model_id")
_OUTPUT = Reader(_Output)
_STEPPED = Reader(_Stepped)


def create_model_response(content_type: str, body: bytes) -> CreateModelResponse:
    """Read the result of a `create_model`.

    Raises:
        APIResponseValidationError: not understood, or without a model id.
    """
    return read_result(
        content_type, body, _CREATED, endpoints.TYPE_CREATE_MODEL, lambda made, _: CreateModelResponse(made.model_id)
    )


def forward_backward_output(content_type: str, body: bytes, expected: int = 0) -> ForwardBackwardOutput:
    """Read the result of one `forward_backward` or `forward` request.

    Missing metrics are none at all; a null in them is NaN.

    Args:
        content_type: the answer's.
        body: the answer.
        expected: how many examples were sent; 0 when that is not known here.

    Raises:
        APIResponseValidationError: not understood.
    """
    if "protobuf" in content_type.lower():
        return protobuf_results.forward_backward_output(body, expected)

    def made(said: _Output, _named: bool) -> ForwardBackwardOutput:
        return ForwardBackwardOutput(
            loss_fn_output_type=said.loss_fn_output_type or _DEFAULT_OUTPUT_TYPE,
            loss_fn_outputs=whole_outputs([_record(record) for record in said.loss_fn_outputs], expected),
            metrics=_with_nan(said.metrics) or {},
        )

    return read_result(content_type, body, _OUTPUT, endpoints.TYPE_FORWARD_BACKWARD, made)


def _record(record: dict[str, WireTensor]) -> LossFnOutput:
    return {name: _tensor(tensor) for name, tensor in record.items()}


def _tensor(tensor: WireTensor) -> TensorData:
    dtype: Any = tensor.dtype  # TensorData refuses what it does not know
    data = tensor.data
    if dtype == "float32" and None in data:
        data = [math.nan if value is None else value for value in data]
    return TensorData(data, dtype, tensor.shape, tensor.sparse_crow_indices, tensor.sparse_col_indices)


def optim_step_response(content_type: str, body: bytes) -> OptimStepResponse:
    """Read the result of an `optim_step`: metrics, be they null, or at least its name.

    Raises:
        APIResponseValidationError: not understood.
    """

    def made(said: _Stepped, is_named: bool) -> OptimStepResponse:
        if said.metrics is msgspec.UNSET:
            if not is_named:
                raise ValueError("nothing in it says that the step was applied")
            return OptimStepResponse(None)
        return OptimStepResponse(_with_nan(said.metrics))

    return read_result(content_type, body, _STEPPED, endpoints.TYPE_OPTIM_STEP, made)


# ---------------------------------------------------------------- checkpoints

_SAVED = Reader(_Saved, "path")
_LOADED = Reader(_Loaded, "path", "model_id")
_SAVED_FOR_SAMPLER = Reader(_SavedForSampler, "path", "sampling_session_id")


def save_weights_response(content_type: str, body: bytes) -> SaveWeightsResponse:
    """Read the result of a `save_weights`.

    Raises:
        APIResponseValidationError: not understood, or without a path.
    """
    return read_result(
        content_type, body, _SAVED, endpoints.TYPE_SAVE_WEIGHTS, lambda said, _: SaveWeightsResponse(said.path)
    )


def load_weights_response(content_type: str, body: bytes) -> LoadWeightsResponse:
    """Read the result of a `load_weights`: a path or a model, be they null, or at least its name.

    Raises:
        APIResponseValidationError: not understood.
    """

    def made(said: _Loaded, is_named: bool) -> LoadWeightsResponse:
        if said.path is msgspec.UNSET and said.model_id is msgspec.UNSET and not is_named:
            raise ValueError("nothing in it says that the checkpoint was loaded")
        return LoadWeightsResponse(None if said.path is msgspec.UNSET else said.path)

    return read_result(content_type, body, _LOADED, endpoints.TYPE_LOAD_WEIGHTS, made)


def save_for_sampler_response(content_type: str, body: bytes) -> SaveWeightsForSamplerResponse:
    """Read the result of a `save_weights_for_sampler`, named or not.

    Raises:
        APIResponseValidationError: not understood, or with neither a path nor a sampler.
    """

    def made(said: _SavedForSampler, _named: bool) -> SaveWeightsForSamplerResponse:
        if said.path is None and said.sampling_session_id is None:
            raise ValueError("it has neither path nor sampling_session_id")
        return SaveWeightsForSamplerResponse(said.path, said.sampling_session_id)

    return read_result(content_type, body, _SAVED_FOR_SAMPLER, endpoints.TYPE_SAVE_WEIGHTS_FOR_SAMPLER, made)


def named_checkpoint(results: Sequence[SaveWeightsForSamplerResponse]) -> SaveWeightsForSamplerResponse:
    """Return the only result, that of a save under a name.

    Raises:
        APIResponseValidationError: the server does not say where it was saved.
    """
    (saved,) = results
    if saved.path is None:
        raise APIResponseValidationError("The server saved the weights and did not say under which path.")
    return saved


# ---------------------------------------------------------------- by what was asked for

_READERS: dict[str, Callable[[str, bytes], Any]] = {
    endpoints.TYPE_CREATE_MODEL: create_model_response,
    endpoints.TYPE_OPTIM_STEP: optim_step_response,
    endpoints.TYPE_SAVE_WEIGHTS: save_weights_response,
    endpoints.TYPE_LOAD_WEIGHTS: load_weights_response,
    endpoints.TYPE_SAVE_WEIGHTS_FOR_SAMPLER: save_for_sampler_response,
}


def training_result(request_type: str, expected: int, content_type: str, body: bytes) -> Any:
    """Read the result of an operation on a model.

    Args:
        request_type: what was asked for, by the `X-Tinker-Request-Type` of the polls.
        expected: how many examples the request had.
        content_type: the answer's.
        body: the answer.

    Raises:
        APIResponseValidationError: not understood.
    """
    if request_type in (endpoints.TYPE_FORWARD, endpoints.TYPE_FORWARD_BACKWARD):
        return forward_backward_output(content_type, body, expected)
    return _READERS[request_type](content_type, body)
