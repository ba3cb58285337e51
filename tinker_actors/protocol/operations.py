"""Operations: checked and encoded in the caller's thread, into immutable tails.

A request's body is a small *head*, made when it leaves (the model and the number it takes there), and a *tail*, the
rest, encoded once. A resend or a replay needs no more than a head. `head(...) + tail.body` is the whole body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import msgspec

from tinker_actors.errors import InvalidInputError
from tinker_actors.protocol import endpoints
from tinker_actors.protocol.checks import (
    check_batch,
    checked_loss_config,
    checked_name,
    checked_number,
    checked_ttl,
)
from tinker_actors.protocol.chunking import datum_bytes, prompt_bytes, split
from tinker_actors.protocol.codec import encode, without_nulls
from tinker_actors.protocol.sampling import input_fields, sample_fields
from tinker_actors.types.inputs import Datum, EncodedTextChunk, ModelInput
from tinker_actors.types.paths import require_tinker_path
from tinker_actors.types.sampling import SamplingParams
from tinker_actors.types.training import AdamParams
from tinker_actors.types.wire import SamplerKind

JSON = "application/json"

OperationName = Literal[
    "forward",
    "forward_backward",
    "optim_step",
    "save_state",
    "load_state",
    "save_weights_for_sampler",
]


class Tail(msgspec.Struct, frozen=True, eq=False):
    """A request without its head, encoded.

    Attributes:
        path: absolute path below the base URL.
        body: JSON object text without its opening brace and without the head's fields. Never empty of fields, so
            that a head can always go before it.
        content_type: of the whole body.
        weight: estimated bytes, for byte budgets.
        request_type: `X-Tinker-Request-Type` of the polls for the result.
    """

    path: str
    body: bytes
    content_type: str
    weight: int
    request_type: str


class Operation(msgspec.Struct, frozen=True, eq=False):
    """One call of a user on a model, ready to be sent.

    Attributes:
        name: which one.
        tails: its requests, in the order of the data; each takes a number of its own.
        gradient: it adds to the gradient (a `forward_backward`).
        step: it applies the gradient (an `optim_step`).
        restores: it replaces the weights (a `load_state`).
        filler: for data operations, a tiny `forward` without effect that can take the number of a chunk that failed,
            so that what is behind it can go on.
    """

    name: OperationName
    tails: tuple[Tail, ...]
    gradient: bool = False
    step: bool = False
    restores: bool = False
    filler: Tail | None = None


def head(**fields: str | int | None) -> bytes:
    """Return the head of a request body: an opening brace, the fields, a comma. None values are left out.

    For example `head(model_id="m", seq_id=3)` is `{"model_id":"m","seq_id":3,`.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    return encode(given)[:-1] + b"," if given else b"{"


def _tail(name: str, request_type: str, fields: dict[str, Any], weight: int | None = None) -> Tail:
    try:
        body = encode(fields)[1:]
    except (TypeError, ValueError, NotImplementedError, OverflowError) as error:
        raise InvalidInputError(f"{name} has an argument without a JSON form: {error}.") from error
    return Tail(endpoints.API + name, body, JSON, len(body) if weight is None else weight, request_type)


# The two data operations differ in path, in the key of their input and in what the polls call them.
_DATA_REQUESTS = {
    False: ("forward_backward", "forward_backward_input", endpoints.TYPE_FORWARD_BACKWARD),
    True: ("forward", "forward_input", endpoints.TYPE_FORWARD),
}


def forward_backward(
    data: Sequence[Datum],
    loss_fn: str,
    loss_fn_config: Mapping[str, Any] | None = None,
    *,
    forward_only: bool = False,
    max_chunk_len: int = 1024,
    max_chunk_bytes: int = 5_000_000,
) -> Operation:
    """Check, cut and encode a forward-backward pass, or a forward pass.

    Args:
        data: the examples; they may be changed once this returns.
        loss_fn: name of the loss function.
        loss_fn_config: its numbers and strings by name.
        forward_only: compute the loss's outputs without a gradient.
        max_chunk_len: most datums in a request.
        max_chunk_bytes: most estimated bytes in a request, unless it has a single datum.

    Raises:
        InvalidInputError: empty data, an unknown loss function, or a datum or config value that can't be right; the
            message names the datum and the field.
    """
    check_batch(data, loss_fn, forward_only=forward_only)
    config = checked_loss_config(loss_fn_config)
    name, key, request_type = _DATA_REQUESTS[forward_only]
    weights = [datum_bytes(datum) for datum in data]
    tails = []
    for chunk in split(weights, max_chunk_len, max_chunk_bytes):
        body: dict[str, Any] = {"data": [_datum_fields(data[i]) for i in chunk], "loss_fn": loss_fn}
        if config is not None:
            body["loss_fn_config"] = config
        tails.append(_tail(name, request_type, {key: body}, sum(weights[i] for i in chunk)))
    return Operation(
        name="forward" if forward_only else "forward_backward",
        tails=tuple(tails),
        gradient=not forward_only,
        filler=filler(_first_token(data[0])),
    )


def _datum_fields(datum: Datum) -> dict[str, Any]:
    return {"model_input": input_fields(datum.model_input), "loss_fn_inputs": datum.loss_fn_inputs}


def _first_token(datum: Datum) -> int:
    for chunk in datum.model_input.chunks:
        if isinstance(chunk, EncodedTextChunk) and len(chunk.tokens):
            return int(chunk.tokens[0])
    return 0


def filler(token: int = 0) -> Tail:
    """Return a `forward` over one token with weight 0, which changes nothing on a server.

    Args:
        token: a token id that the model is known to have.
    """
    one = {"dtype": "int64", "shape": [1], "data": [token]}
    zero = {"dtype": "float32", "shape": [1], "data": [0.0]}
    datum = {
        "model_input": {"chunks": [{"type": "encoded_text", "tokens": [token]}]},
        "loss_fn_inputs": {"target_tokens": one, "weights": zero},
    }
    name, key, request_type = _DATA_REQUESTS[True]
    return _tail(name, request_type, {key: {"data": [datum], "loss_fn": "cross_entropy"}})


def optim_step(params: AdamParams | Mapping[str, Any] | None = None) -> Operation:
    """Check and encode an optimizer step.

    Args:
        params: AdamW's parameters, as a struct or a dict; None means the defaults.

    Raises:
        InvalidInputError: an unknown key, or a value that is negative, not finite, or (the betas) not below 1.
    """
    fields = {"adam_params": _adam_fields(params), "type": "optim_step"}
    return Operation(name="optim_step", tails=(_tail("optim_step", endpoints.TYPE_OPTIM_STEP, fields),), step=True)


def _adam_fields(params: AdamParams | Mapping[str, Any] | None) -> dict[str, float]:
    if params is None:
        params = AdamParams()
    if isinstance(params, Mapping):
        unknown = [str(key) for key in params if key not in AdamParams.__struct_fields__]
        if unknown:
            known = ", ".join(AdamParams.__struct_fields__)
            raise InvalidInputError(f"adam_params has no {', '.join(unknown)}; it has {known}.")
        params = AdamParams(**params)
    if not isinstance(params, AdamParams):
        raise InvalidInputError(f"adam_params is a {type(params).__name__}, not AdamParams or a dict.")
    fields: dict[str, float] = {}
    for name in AdamParams.__struct_fields__:
        value = checked_number(getattr(params, name), f"adam_params.{name}")
        if value < 0 or (name.startswith("beta") and value >= 1):
            limit = "at least 0 and below 1" if name.startswith("beta") else "at least 0"
            raise InvalidInputError(f"adam_params.{name} is {value}; it must be {limit}.")
        fields[name] = value
    return fields


def save_weights(
    name: str,
    ttl_seconds: int | None = None,
    overwrite: bool = False,
    user_metadata: Mapping[str, Any] | None = None,
) -> Operation:
    """Check and encode the saving of a training checkpoint.

    Args:
        name: its name; the server makes the path.
        ttl_seconds: its lifetime; None keeps it for ever.
        overwrite: replace a checkpoint of that name.
        user_metadata: stored along with it.

    Raises:
        InvalidInputError: a name with a slash or none at all, a lifetime outside 1 hour to 10 years, or metadata
            that are no JSON.
    """
    fields = {
        "path": checked_name(name),
        "ttl_seconds": checked_ttl(ttl_seconds),
        "overwrite": bool(overwrite),
        "user_metadata": user_metadata,
        "type": "save_weights",
    }
    return _single("save_state", "save_weights", endpoints.TYPE_SAVE_WEIGHTS, fields)


def load_weights(path: str, optimizer: bool, weights_access_token: str | None = None) -> Operation:
    """Check and encode the loading of a checkpoint into a model.

    Args:
        path: the checkpoint's `tinker://` path.
        optimizer: load the optimizer's state too.
        weights_access_token: for another account's checkpoint.

    Raises:
        InvalidInputError: `path` is no `tinker://` path.
    """
    fields = {
        "path": require_tinker_path(path, "path"),
        "optimizer": bool(optimizer),
        "weights_access_token": weights_access_token,
        "type": "load_weights",
    }
    operation = _single("load_state", "load_weights", endpoints.TYPE_LOAD_WEIGHTS, fields)
    return msgspec.structs.replace(operation, restores=True)


def save_weights_for_sampler(
    name: str | None = None,
    kind: SamplerKind = "snapshot",
    ttl_seconds: int | None = None,
    user_metadata: Mapping[str, Any] | None = None,
) -> Operation:
    """Check and encode the saving of weights for sampling.

    Args:
        name: a named checkpoint, which gets a path. None keeps the weights only as long as the sampler that is made
            along with them; the head then carries `sampling_session_seq_id`.
        kind: `"snapshot"` (fixed) or `"inflight"` (follows the model's weights).
        ttl_seconds: lifetime of a named checkpoint; None keeps it for ever.
        user_metadata: stored along with a named checkpoint.

    Raises:
        InvalidInputError: see `save_weights`; an unknown kind; a lifetime or metadata without a name.
    """
    if kind not in get_args(SamplerKind):
        raise InvalidInputError(f"kind is {kind!r}; it must be one of {', '.join(get_args(SamplerKind))}.")
    if name is None and (ttl_seconds is not None or user_metadata is not None):
        raise InvalidInputError("ttl_seconds and user_metadata need a name: weights without one are not kept.")
    fields = {
        "path": None if name is None else checked_name(name),
        "ttl_seconds": checked_ttl(ttl_seconds),
        "user_metadata": user_metadata,
        "kind": kind,
        "type": "save_weights_for_sampler",
    }
    request_type = endpoints.TYPE_SAVE_WEIGHTS_FOR_SAMPLER
    return _single("save_weights_for_sampler", "save_weights_for_sampler", request_type, fields)


def _single(name: OperationName, endpoint: str, request_type: str, fields: dict[str, Any]) -> Operation:
    return Operation(name=name, tails=(_tail(endpoint, request_type, without_nulls(fields)),))


def sample(
    prompt: ModelInput,
    num_samples: int = 1,
    params: SamplingParams | Mapping[str, Any] | None = None,
    include_prompt_logprobs: bool = False,
    topk_prompt_logprobs: int = 0,
) -> Tail:
    """Check and encode a sample request; its head carries `sampling_session_id` and `seq_id`.

    Args:
        prompt: the tokens to go on from.
        num_samples: how many sequences, at least 1.
        params: how to draw tokens, as a struct or a dict; None means the defaults.
        include_prompt_logprobs: also score the prompt.
        topk_prompt_logprobs: also give the k likeliest tokens at each position of the prompt.

    Raises:
        InvalidInputError: an argument that can't be right; the message names it and its value.
    """
    fields = sample_fields(
        prompt,
        num_samples,
        params,
        include_prompt_logprobs=include_prompt_logprobs,
        topk_prompt_logprobs=topk_prompt_logprobs,
    )
    return _tail("asample", endpoints.TYPE_SAMPLE, fields, prompt_bytes(prompt))
