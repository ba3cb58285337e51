"""Dialects: a result, which is kept as JSON, put into protobuf for those who ask for that (wire protocol 4.1).

Only the results that are mostly numbers have both forms. One form is kept, so that there is one truth about a result
and one thing on disk; JSON is the one that all kinds have.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from tinker_actors.local.core.models.datums import tensor_of
from tinker_actors.local.core.requests.messages import CoreRequest
from tinker_actors.protocol.codec.protobuf import serving
from tinker_actors.types.sampling import TopkLogprobs
from tinker_actors.types.wire import WireTensor

PROTOBUF = "application/x-protobuf"
"""The media type, in `Content-Type` and in `Accept`."""


class _Pass(msgspec.Struct):
    loss_fn_outputs: list[dict[str, WireTensor]]
    metrics: dict[str, float | None]
    loss_fn_output_type: str


class _Sequence(msgspec.Struct):
    stop_reason: Literal["stop", "length"]
    tokens: list[int]
    logprobs: list[float | None]
    topk_logprobs: list[TopkLogprobs] | None = None


class _Sample(msgspec.Struct):
    sequences: list[_Sequence]
    prompt_logprobs: list[float | None] | None = None
    topk_prompt_logprobs: list[TopkLogprobs | None] | None = None
    target_prompt_logprobs: WireTensor | None = None
    prompt_cache_hit_tokens: int = 0


def sent_in_protobuf(request: CoreRequest) -> bool:
    """Return whether a request's body is protobuf."""
    return "protobuf" in request.headers.get("content-type", "").lower()


def wants_protobuf(request: CoreRequest) -> bool:
    """Return whether a poll asks for protobuf where a result has that form."""
    return PROTOBUF in request.headers.get("accept", "").lower()


def in_protobuf(kind: str, body: bytes) -> bytes | None:
    """Return a result in protobuf; None for a kind of operation whose results are always JSON.

    Args:
        kind: the operation, e.g. `"forward"`.
        body: its result in JSON; not a failure.
    """
    if kind in ("forward", "forward_backward"):
        return _pass(msgspec.json.decode(body, type=_Pass))
    if kind == "sample" and body:  # a streamed sample has none
        return _sample(msgspec.json.decode(body, type=_Sample))
    return None


def _pass(result: _Pass) -> bytes:
    outputs = [
        {name: tensor_of(tensor).to_numpy() for name, tensor in output.items()} for output in result.loss_fn_outputs
    ]
    metrics = {name: np.nan if value is None else value for name, value in result.metrics.items()}
    return serving.encode_forward_backward_output(outputs, metrics, result.loss_fn_output_type)


def _sample(result: _Sample) -> bytes:
    target = result.target_prompt_logprobs
    return serving.encode_sample_response(
        result.sequences,
        result.prompt_logprobs,
        result.topk_prompt_logprobs,
        topk_sampled_logprobs=[sequence.topk_logprobs for sequence in result.sequences],
        target_prompt_logprobs=None if target is None else tensor_of(target),
        prompt_cache_hit_tokens=result.prompt_cache_hit_tokens,
    )
