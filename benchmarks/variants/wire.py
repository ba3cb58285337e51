"""The bodies that hand-written clients send and read, as msgspec structs."""

from __future__ import annotations

import msgspec


class Chunk(msgspec.Struct, tag_field="type", tag="encoded_text"):
    tokens: list[int]


class Prompt(msgspec.Struct):
    chunks: list[Chunk]


class Params(msgspec.Struct):
    max_tokens: int
    temperature: float = 1.0
    top_k: int = -1
    top_p: float = 1.0


class SampleRequest(msgspec.Struct, tag_field="type", tag="sample"):
    sampling_session_id: str
    seq_id: int
    num_samples: int
    prompt: Prompt
    sampling_params: Params
    prompt_logprobs: bool = False
    topk_prompt_logprobs: int = 0


class Promise(msgspec.Struct):
    request_id: str


class Retrieve(msgspec.Struct):
    request_id: str
    allow_metadata_only: bool = True


class Sequence(msgspec.Struct):
    tokens: list[int]
    logprobs: list[float]
    stop_reason: str


class Result(msgspec.Struct):
    sequences: list[Sequence]
