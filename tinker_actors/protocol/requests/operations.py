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
from tinker_actors.protocol.codec.protobuf import requests
from tinker_actors.protocol.codec.wire_json import encode, without_nulls
from tinker_actors.protocol.endpoints import JSON, PROTOBUF
from tinker_actors.protocol.requests import chunking, passes
from tinker_actors.protocol.requests.checks import check_batch
from tinker_actors.protocol.requests.dialect import Dialect
from tinker_actors.protocol.requests.sampling import sample_json
from tinker_actors.protocol.requests.values import (
    checked_access_token,
    checked_loss_config,
    checked_metadata,
    checked_name,
    checked_ttl,
)
from tinker_actors.types.inputs import Datum, EncodedTextChunk, ImageAssetPointerChunk, ModelInput
from tinker_actors.types.paths import require_tinker_path
from tinker_actors.types.sampling import SamplingParams
from tinker_actors.types.scalars import checked_flag, checked_number, shown
from tinker_actors.types.spelling import check_names
from tinker_actors.types.training import AdamParams
from tinker_actors.types.wire import SamplerKind

__all__ = [
    "JSON",
    "Operation",
    "OperationName",
    "Tail",
    "discard",
    "filler",
    "forward_backward",
    "head",
    "in_dialect",
    "load_weights",
    "optim_step",
    "request_head",
    "sample",
    "save_weights",
    "save_weights_for_sampler",
]

OperationName = Literal[
    "forward",
    "forward_backward",
    "optim_step",
    "save_state",
    "load_state",
    "save_weights_for_sampler",
    "discard",
]


class Tail(msgspec.Struct, frozen=True, eq=False):
    """A request without its head, encoded.

    Attributes:
        path: absolute path below the base URL.
        body: JSON object text without its opening brace and without the head's fields, never empty of fields, so
            that a head can always go before it; or the fields of a protobuf message behind the head's.
        content_type: of the whole body.
        weight: estimated bytes, for byte budgets.
        request_type: `X-Tinker-Request-Type` of the polls for the result.
        headers: what else the request's headers have to say about the body.
        expected: how many sequences or outputs its result has: one for each sample, or for each example; 0 for the
            results that have none.
        doubtful: the server may not know what it is written in, so that a 500 may be all it says to it and is no
            passing failure.
    """

    path: str
    body: bytes
    content_type: str
    weight: int
    request_type: str
    headers: tuple[tuple[str, str], ...] = ()
    expected: int = 0
    doubtful: bool = False

    @property
    def dialect(self) -> Dialect:
        """What the body is written in."""
        return "protobuf" if self.content_type == PROTOBUF else "json"

    @property
    def data(self) -> bool:
        """Whether it carries examples, and so may have to be sent in another dialect."""
        return self.request_type in _DATA_TYPES.values()


class Operation(msgspec.Struct, frozen=True, eq=False):
    """One call of a user on a model, ready to be sent.

    Attributes:
        name: which one.
        tails: its requests, in the order of the data; each takes a number of its own.
        gradient: it adds to the gradient (a `forward_backward`).
        step: it applies the gradient (an `optim_step`).
        restores: it replaces the weights (a `load_state`).
        discards: it discards the gradient; the runtime's own.
        token: a token id that the model is known to have, for the filler that can take the number of a request that
            failed, so that what is behind it can go on.
    """

    name: OperationName
    tails: tuple[Tail, ...]
    gradient: bool = False
    step: bool = False
    restores: bool = False
    discards: bool = False
    token: int = 0


def head(**fields: str | int | None) -> bytes:
    """Return the head of a request body: an opening brace, the fields, a comma. None values are left out.

    For example `head(model_id="m", seq_id=3)` is `{"model_id":"m","seq_id":3,`.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    return encode(given)[:-1] + b"," if given else b"{"


def request_head(tail: Tail, model_id: str, seq_id: int, sampling_session_seq_id: int | None = None) -> bytes:
    """Return the head of a model's request, in the dialect of its tail."""
    if tail.dialect == "protobuf":
        return requests.head(model_id, seq_id)
    return head(model_id=model_id, seq_id=seq_id, sampling_session_seq_id=sampling_session_seq_id)


def _tail(name: str, request_type: str, fields: dict[str, Any]) -> Tail:
    body = encode(fields)[1:]
    return Tail(endpoints.API + name, body, JSON, len(body), request_type)


_DATA_TYPES = {False: endpoints.TYPE_FORWARD_BACKWARD, True: endpoints.TYPE_FORWARD}


def _data_tail(body: bytes, dialect: Dialect, weight: int, expected: int, *, forward_only: bool) -> Tail:
    """Return a tail for examples. In protobuf both kinds go to one endpoint, and the body tells which it is."""
    name = "forward" if forward_only and dialect == "json" else "forward_backward"
    content_type = PROTOBUF if dialect == "protobuf" else JSON
    return Tail(endpoints.API + name, body, content_type, weight, _DATA_TYPES[forward_only], expected=expected)


def in_dialect(tail: Tail, dialect: Dialect) -> Tail:
    """Return a tail of examples in another dialect, read back from its bytes.

    Raises:
        InvalidInputError: it points to an image, which protobuf has no form for.
    """
    if tail.dialect == dialect:
        return tail
    body = passes.to_json(tail.body) if dialect == "json" else passes.to_protobuf(tail.body)
    forward_only = tail.request_type == endpoints.TYPE_FORWARD
    return _data_tail(body, dialect, tail.weight, tail.expected, forward_only=forward_only)


def forward_backward(
    data: Sequence[Datum],
    loss_fn: str,
    loss_fn_config: Mapping[str, Any] | None = None,
    *,
    forward_only: bool = False,
    max_chunk_len: int = 1024,
    max_chunk_bytes: int = 5_000_000,
    dialect: Dialect = "json",
) -> Operation:
    """Check, cut and encode a forward-backward pass, or a forward pass.

    Args:
        data: the examples; they may be changed once this returns.
        loss_fn: name of the loss function.
        loss_fn_config: its numbers and strings by name.
        forward_only: compute the loss's outputs without a gradient.
        max_chunk_len: most datums in a request.
        max_chunk_bytes: most estimated bytes in a request, unless it has a single datum.
        dialect: what to encode in. Examples that point to images are encoded in JSON all the same: protobuf has no
            form for them.

    Raises:
        InvalidInputError: empty data, an unknown loss function, or a datum or config value that can't be right; the
            message names the datum and the field.
    """
    check_batch(data, loss_fn, forward_only=forward_only)
    config = checked_loss_config(loss_fn_config)
    if dialect == "protobuf" and any(_points_to_image(datum) for datum in data):
        dialect = "json"
    estimate = requests.datum_bytes if dialect == "protobuf" else chunking.datum_bytes
    encoded = requests.encode_forward_backward_tail if dialect == "protobuf" else passes.encode_json_tail
    weights = [estimate(datum) for datum in data]
    tails = []
    for chunk in chunking.split(weights, max_chunk_len, max_chunk_bytes):
        part = slice(chunk.start, chunk.stop)
        body = encoded(data[part], loss_fn, config, forward_only=forward_only, first=chunk.start)
        tails.append(_data_tail(body, dialect, sum(weights[part]), len(chunk), forward_only=forward_only))
    return Operation(
        name="forward" if forward_only else "forward_backward",
        tails=tuple(tails),
        gradient=not forward_only,
        token=_first_token(data[0]),
    )


def _points_to_image(datum: Datum) -> bool:
    return any(isinstance(chunk, ImageAssetPointerChunk) for chunk in datum.model_input.chunks)


def _first_token(datum: Datum) -> int:
    for chunk in datum.model_input.chunks:
        if isinstance(chunk, EncodedTextChunk) and len(chunk.tokens):
            return int(chunk.tokens[0])
    return 0


def filler(token: int = 0, dialect: Dialect = "json") -> Tail:
    """Return a `forward` over one token with weight 0, which changes nothing on a server.

    Args:
        token: a token id that the model is known to have.
        dialect: what to encode it in.
    """
    datum = Datum(ModelInput.from_ints([token]), {"target_tokens": [token], "weights": [0.0]})
    encoded = requests.encode_forward_backward_tail if dialect == "protobuf" else passes.encode_json_tail
    body = encoded([datum], "cross_entropy", None, forward_only=True)
    return _data_tail(body, dialect, len(body), 1, forward_only=True)


def optim_step(params: AdamParams | Mapping[str, Any] | None = None) -> Operation:
    """Check and encode an optimizer step.

    Args:
        params: AdamW's parameters, as a struct or a dict; None means the defaults.

    Raises:
        InvalidInputError: an unknown key, or a value that is negative, not finite, or (the betas) not below 1.
    """
    fields = {"adam_params": _adam_fields(params), "type": "optim_step"}
    return Operation(name="optim_step", tails=(_tail("optim_step", endpoints.TYPE_OPTIM_STEP, fields),), step=True)


def discard() -> Operation:
    """Return what discards the gradients on a server that announces `discards_gradients`."""
    fields = {"adam_params": _adam_fields(None), "discard": True, "type": "optim_step"}
    return Operation(name="discard", tails=(_tail("optim_step", endpoints.TYPE_OPTIM_STEP, fields),), discards=True)


def _adam_fields(params: AdamParams | Mapping[str, Any] | None) -> dict[str, float]:
    if params is None:
        params = AdamParams()
    if isinstance(params, Mapping):
        check_names(params, AdamParams.__struct_fields__, "adam_params")
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
        "overwrite": checked_flag(overwrite, "overwrite"),
        "user_metadata": checked_metadata(user_metadata),
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
        InvalidInputError: `path` is no `tinker://` path, or the token is no text that can be sent.
    """
    fields = {
        "path": require_tinker_path(path, "path"),
        "optimizer": optimizer,
        "weights_access_token": checked_access_token(weights_access_token),
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
        raise InvalidInputError(f"kind is {shown(kind)}; it must be one of {', '.join(get_args(SamplerKind))}.")
    if name is None and (ttl_seconds is not None or user_metadata is not None):
        raise InvalidInputError("ttl_seconds and user_metadata need a name: weights without one are not kept.")
    fields = {
        "path": None if name is None else checked_name(name),
        "ttl_seconds": checked_ttl(ttl_seconds),
        "user_metadata": checked_metadata(user_metadata),
        "kind": kind,
        "type": "save_weights_for_sampler",
    }
    request_type = endpoints.TYPE_SAVE_WEIGHTS_FOR_SAMPLER
    return _single("save_weights_for_sampler", "save_weights_for_sampler", request_type, fields)


def _single(name: OperationName, endpoint: str, request_type: str, fields: dict[str, Any]) -> Operation:
    return Operation(name=name, tails=(_tail(endpoint, request_type, without_nulls(fields)),))


_SAMPLE_PATH = endpoints.API + "asample"


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
    body = sample_json(
        prompt,
        num_samples,
        params,
        include_prompt_logprobs=include_prompt_logprobs,
        topk_prompt_logprobs=topk_prompt_logprobs,
    )
    return Tail(_SAMPLE_PATH, body, JSON, chunking.prompt_bytes(prompt), endpoints.TYPE_SAMPLE, expected=num_samples)
