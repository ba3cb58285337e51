"""Sampling requests: checked and encoded in the caller's thread.

Part of the hot path: the prompt is encoded in one pass, what surrounds it is written around it, and sampling
parameters that were checked and encoded once are known by their values.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinker_actors.errors import InvalidInputError
from tinker_actors.protocol.codec.tokens import json_ids
from tinker_actors.protocol.codec.wire_json import encode
from tinker_actors.protocol.requests.checks import check_input
from tinker_actors.types.inputs import EncodedTextChunk, ImageAssetPointerChunk, ImageChunk, ModelInput
from tinker_actors.types.sampling import SamplingParams
from tinker_actors.types.scalars import checked_flag, checked_int, checked_number, sendable_text, shown
from tinker_actors.types.spelling import check_names

_LISTS = (list, tuple, range, np.ndarray)
_REMEMBERED = 256  # kinds of parameters; a program has a few


def input_json(value: ModelInput, where: str) -> bytes:
    """Check an input and return it as JSON, without nulls.

    Args:
        value: the input.
        where: what to call it in a message.

    Raises:
        InvalidInputError: it can't be right; the message names the place and the value.
    """
    check_input(value, where)
    chunks = value.chunks
    if len(chunks) == 1:
        chunk = chunks[0]
        if type(chunk) is EncodedTextChunk:  # nearly always, and then with fewer steps
            ids = json_ids(chunk.tokens, f"{where}.chunks[0].tokens")
            return b'{"chunks":[{"type":"encoded_text","tokens":%b}]}' % ids
        return b'{"chunks":[%b]}' % _chunk_json(chunk, f"{where}.chunks[0]")
    return b'{"chunks":[%b]}' % b",".join(
        [_chunk_json(chunk, f"{where}.chunks[{index}]") for index, chunk in enumerate(chunks)]
    )


def _chunk_json(chunk: Any, where: str) -> bytes:
    if isinstance(chunk, EncodedTextChunk):
        return b'{"type":"encoded_text","tokens":%b}' % json_ids(chunk.tokens, f"{where}.tokens")
    return encode(image_fields(chunk))


def image_fields(chunk: ImageChunk | ImageAssetPointerChunk) -> dict[str, Any]:
    """Return an image as what the encoder takes, without nulls."""
    fields: dict[str, Any] = {"type": type(chunk).__struct_config__.tag, "format": chunk.format}
    if isinstance(chunk, ImageChunk):
        fields["data"] = chunk.data
    else:
        fields["location"] = chunk.location
    if chunk.expected_tokens is not None:
        fields["expected_tokens"] = chunk.expected_tokens
    return fields


def sample_json(
    prompt: ModelInput,
    num_samples: Any,
    params: SamplingParams | Mapping[str, Any] | None,
    *,
    include_prompt_logprobs: Any,
    topk_prompt_logprobs: Any,
) -> bytes:
    """Check a sample request and return its body without the opening brace, in the order of the official client.

    Raises:
        InvalidInputError: an argument that can't be right; the message names it.
    """
    plain = type(num_samples) is int and type(include_prompt_logprobs) is bool and type(topk_prompt_logprobs) is int
    ends = _known_ends if plain else _ends
    begin, end = ends(num_samples, include_prompt_logprobs, topk_prompt_logprobs)
    if type(params) is not SamplingParams:
        params = as_sampling_params(params)
    return b'%b%b,"sampling_params":%b%b' % (begin, input_json(prompt, "prompt"), params_json(params), end)


def _ends(num_samples: Any, include_prompt_logprobs: Any, topk_prompt_logprobs: Any) -> tuple[bytes, bytes]:
    """Check what is neither prompt nor parameters; return what stands before the prompt, and behind the parameters."""
    begin = b'"num_samples":%d,"prompt":' % checked_int(num_samples, "num_samples", least=1)
    flag = b"true" if checked_flag(include_prompt_logprobs, "include_prompt_logprobs") else b"false"
    topk = checked_int(topk_prompt_logprobs, "topk_prompt_logprobs", least=0)
    return begin, b',"prompt_logprobs":%b,"topk_prompt_logprobs":%d,"type":"sample"}' % (flag, topk)


_known_ends = functools.lru_cache(_REMEMBERED)(_ends)


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
    check_names(params, known, "sampling_params")
    return SamplingParams(**params)


def params_json(params: SamplingParams) -> bytes:
    """Check sampling parameters and return them as JSON without nulls. Thread-safe.

    Raises:
        InvalidInputError: a parameter outside its range; the message names it and the value.
    """
    stop = params.stop
    if stop is not None and not isinstance(stop, str):
        return encode(params_fields(params))  # a list may be changed behind our back, and can't be looked up
    try:
        # By type too, for to Python 1, 1.0 and True are one number. The seed is left out: it differs each time.
        known = _known_params(params.max_tokens, params.temperature, params.top_k, params.top_p, stop)
    except TypeError:  # something that has no hash, and so is no number
        return encode(params_fields(params))
    if params.seed is None:
        return known
    return b'%b,"seed":%d}' % (known[:-1], checked_int(params.seed, "seed"))


@functools.lru_cache(_REMEMBERED, typed=True)
def _known_params(max_tokens: Any, temperature: Any, top_k: Any, top_p: Any, stop: str | None) -> bytes:
    return encode(params_fields(SamplingParams(max_tokens, None, stop, temperature, top_k, top_p)))


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
    items = [stop] if isinstance(stop, str) else list(stop) if isinstance(stop, _LISTS) else None
    if items is None:
        raise InvalidInputError(f"stop is {shown(stop)}; it must be a string, or a list of strings or of token ids.")
    plain = [
        sendable_text(item, f"stop[{i}]") if isinstance(item, str) else checked_int(item, f"stop[{i}]", least=0)
        for i, item in enumerate(items)
    ]
    if len({isinstance(item, str) for item in plain}) > 1:
        raise InvalidInputError("stop mixes strings and token ids; give one kind.")
    return plain
