"""Passes: the bodies of `forward` and `forward_backward` in JSON, and the way from one dialect into the other.

A body is encoded when nothing may be known of the server yet. When it turns out to speak the other dialect, what was
encoded is read back and written anew; the examples themselves are not needed any more.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tinker_actors.errors import InvalidInputError
from tinker_actors.loading import load
from tinker_actors.protocol.codec.protobuf.requests import encode_forward_backward_tail
from tinker_actors.protocol.codec.wire_json import encode
from tinker_actors.protocol.requests.sampling import input_json
from tinker_actors.types.inputs import (
    Datum,
    EncodedTextChunk,
    ImageAssetPointerChunk,
    ImageChunk,
    ModelInput,
    ModelInputChunk,
)
from tinker_actors.types.tensors import TensorData
from tinker_actors.types.wire import ForwardBackwardInput, WireChunk, WireDatum, WireTensor

Config = Mapping[str, float | str]

INPUT_KEYS = {False: "forward_backward_input", True: "forward_input"}
"""The key of the input in JSON, without and with `forward_only`."""


class _Tail(msgspec.Struct):
    forward_backward_input: ForwardBackwardInput | None = None
    forward_input: ForwardBackwardInput | None = None


_TAIL = msgspec.json.Decoder(_Tail)


def encode_json_tail(
    data: Sequence[Datum], loss_fn: str, config: Config | None, *, forward_only: bool, first: int = 0
) -> bytes:
    """Encode the body of a pass in JSON, without its opening brace and its head. Thread-safe.

    Args:
        data: the examples, checked before except for their token ids.
        loss_fn: name of the loss function.
        config: its numbers and strings by name.
        forward_only: compute no gradient.
        first: index of the first example in the user's data, for messages.

    Raises:
        InvalidInputError: a token id that can't be right, or something without a JSON form.
    """
    fields = [
        {
            "model_input": msgspec.Raw(input_json(datum.model_input, f"data[{index}].model_input")),
            "loss_fn_inputs": datum.loss_fn_inputs,
        }
        for index, datum in enumerate(data, first)
    ]
    return _body(fields, loss_fn, config, forward_only=forward_only)


def _body(data: list[Any], loss_fn: str, config: Config | None, *, forward_only: bool) -> bytes:
    given: dict[str, Any] = {"data": data, "loss_fn": loss_fn}
    if config:
        given["loss_fn_config"] = config
    return encode({INPUT_KEYS[forward_only]: given})[1:]


# ---------------------------------------------------------------- from one dialect into the other


def to_json(body: bytes) -> bytes:
    """Return a protobuf tail in JSON.

    Args:
        body: what `encode_forward_backward_tail` made.
    """
    load("tinker_actors.protocol.codec.protobuf.serving")
    from tinker_actors.protocol.codec.protobuf import serving  # noqa: PLC0415 - loads protobuf, for a server that lacks it

    message = serving.parse_forward_backward_request(body)
    request = serving.forward_backward_request(message)
    given: ForwardBackwardInput = getattr(request, INPUT_KEYS[message.forward_only])
    data = [_datum_fields(datum) for datum in given.data]
    return _body(data, given.loss_fn, given.loss_fn_config, forward_only=message.forward_only)


def _datum_fields(datum: WireDatum) -> dict[str, Any]:
    return {
        "model_input": {"chunks": [_given(chunk) for chunk in datum.model_input.chunks]},
        "loss_fn_inputs": {name: _given(tensor) for name, tensor in datum.loss_fn_inputs.items()},
    }


def _given(record: WireChunk | WireTensor) -> dict[str, Any]:
    """Return a record's fields that are there; strict servers refuse some nulls."""
    fields = {name: getattr(record, name) for name in record.__struct_fields__}
    return {name: value for name, value in fields.items() if value is not None}


def to_protobuf(body: bytes) -> bytes:
    """Return a JSON tail in protobuf.

    Args:
        body: what `encode_json_tail` made.

    Raises:
        InvalidInputError: it points to an image, which protobuf has no form for.
    """
    tail = _TAIL.decode(b"{" + body)
    given = tail.forward_input or tail.forward_backward_input
    assert given is not None
    return encode_forward_backward_tail(
        [_datum(datum) for datum in given.data],
        given.loss_fn,
        given.loss_fn_config,
        forward_only=tail.forward_input is not None,
    )


def _datum(datum: WireDatum) -> Datum:
    return Datum(
        ModelInput([_chunk(chunk) for chunk in datum.model_input.chunks]),
        {name: _tensor(tensor) for name, tensor in datum.loss_fn_inputs.items()},
    )


def _chunk(chunk: WireChunk) -> ModelInputChunk:
    image_format: Any = chunk.format
    if chunk.tokens is not None:
        return EncodedTextChunk(chunk.tokens)
    if chunk.location is not None:
        return ImageAssetPointerChunk(chunk.location, image_format, chunk.expected_tokens)
    try:
        return ImageChunk(base64.b64decode(chunk.data or "", validate=True), image_format, chunk.expected_tokens)
    except binascii.Error as error:
        raise InvalidInputError(f"An image's data are no base64: {error}.") from error


def _tensor(tensor: WireTensor) -> TensorData:
    dtype: Any = tensor.dtype
    return TensorData(tensor.data, dtype, tensor.shape, tensor.sparse_crow_indices, tensor.sparse_col_indices)
