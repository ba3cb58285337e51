"""Sampling requests: checked and encoded in the caller's thread.

Part of the hot path: one pass of the encoder over the prompt and a few comparisons.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tinker_actors.errors import InvalidInputError
from tinker_actors.protocol.checks import check_input, checked_int, checked_number
from tinker_actors.types.inputs import EncodedTextChunk, ImageChunk, ModelInput
from tinker_actors.types.sampling import SamplingParams


def input_fields(value: ModelInput) -> dict[str, Any]:
    """Return an input as what the encoder takes, without nulls."""
    return {"chunks": [_chunk_fields(chunk) for chunk in value.chunks]}


def _chunk_fields(chunk: Any) -> Any:
    if isinstance(chunk, EncodedTextChunk):
        return chunk
    fields: dict[str, Any] = {"type": type(chunk).__struct_config__.tag, "format": chunk.format}
    if isinstance(chunk, ImageChunk):
        fields["data"] = chunk.data
    else:
        fields["location"] = chunk.location
    if chunk.expected_tokens is not None:
        fields["expected_tokens"] = chunk.expected_tokens
    return fields


def sample_fields(
    prompt: ModelInput,
    num_samples: int,
    params: SamplingParams | Mapping[str, Any] | None,
    *,
    include_prompt_logprobs: bool,
    topk_prompt_logprobs: int,
) -> dict[str, Any]:
    """Check a sample request and return its body's fields, in the order of the official client.

    Raises:
        InvalidInputError: an argument that can't be right; the message names it.
    """
    check_input(prompt, "prompt")
    return {
        "num_samples": checked_int(num_samples, "num_samples", least=1),
        "prompt": input_fields(prompt),
        "sampling_params": params_fields(as_sampling_params(params)),
        "prompt_logprobs": bool(include_prompt_logprobs),
        "topk_prompt_logprobs": checked_int(topk_prompt_logprobs, "topk_prompt_logprobs", least=0),
        "type": "sample",
    }


def as_sampling_params(params: SamplingParams | Mapping[str, Any] | None) -> SamplingParams:
    """Return sampling parameters, made from a dict if one is given; None means the defaults.

    Raises:
        InvalidInputError: an unknown key, or neither of the two.
    """
    if isinstance(params, SamplingParams):
        return params
    if params is None:
        return SamplingParams()
    if not isinstance(params, Mapping):
        raise InvalidInputError(f"sampling_params is a {type(params).__name__}, not SamplingParams or a dict.")
    known = SamplingParams.__struct_fields__
    unknown = [str(key) for key in params if key not in known]
    if unknown:
        raise InvalidInputError(f"sampling_params has no {', '.join(unknown)}; it has {', '.join(known)}.")
    return SamplingParams(**params)


def params_fields(params: SamplingParams) -> dict[str, Any]:
    """Check sampling parameters and return their fields without nulls.

    A single stop string becomes a list of one, which means the same and which every server takes.

    Raises:
        InvalidInputError: a parameter outside its range; the message names it and the value.
    """
    temperature = checked_number(params.temperature, "temperature")
    top_p = checked_number(params.top_p, "top_p")
    top_k = checked_int(params.top_k, "top_k")
    if temperature < 0:
        raise InvalidInputError(f"temperature is {temperature}; it must be at least 0.")
    if not 0 < top_p <= 1:
        raise InvalidInputError(f"top_p is {top_p}; it must be above 0 and at most 1.")
    if top_k < -1 or top_k == 0:
        raise InvalidInputError(f"top_k is {top_k}; it must be at least 1, or -1 for no limit.")
    fields: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    if params.max_tokens is not None:
        fields["max_tokens"] = checked_int(params.max_tokens, "max_tokens", least=1)
    if params.seed is not None:
        fields["seed"] = checked_int(params.seed, "seed")
    if params.stop is not None:
        fields["stop"] = _stop(params.stop)
    return fields


def _stop(stop: Any) -> list[Any]:
    items = [stop] if isinstance(stop, str) else list(stop) if isinstance(stop, list | tuple | np.ndarray) else None
    if items is None:
        raise InvalidInputError(f"stop is {stop!r}; it must be a string, or a list of strings or of token ids.")
    plain = [
        item if isinstance(item, str) else checked_int(item, f"stop[{i}]", least=0) for i, item in enumerate(items)
    ]
    if len({isinstance(item, str) for item in plain}) > 1:
        raise InvalidInputError("stop mixes strings and token ids; give one kind.")
    return plain
