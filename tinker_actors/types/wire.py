"""Bodies: what requests and their immediate answers look like in JSON (wire protocol 2 and 3).

The client encodes these and the embedded server decodes them, so there is one description of the wire. Fields that
older clients leave out or send as null have defaults; a `type` that is missing is tolerated.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from tinker_actors.types.sampling import SamplingParams
from tinker_actors.types.training import AdamParams, LoraConfig

QueueState = Literal["active", "paused_capacity", "paused_rate_limit"]
SamplerKind = Literal["snapshot", "inflight"]


class Body(msgspec.Struct, eq=False):
    """Base of every body that carries no `type`."""


# ---------------------------------------------------------------- service and session


class ClientConfigRequest(Body):
    """`POST client/config`."""

    sdk_version: str


class ClientConfigResponse(Body):
    """What a server switches on in its clients; what is not understood here is ignored.

    Attributes:
        discards_gradients: the server reads in `X-Known-Failures` what the caller of a request knew, refuses what was
            called in ignorance of a failure, and discards gradients when asked to. Only the embedded server says so.
    """

    fwdbwd_max_chunk_len: int = 1024
    fwdbwd_max_chunk_bytes_count: int = 5_000_000
    parallel_fwdbwd_chunks: bool = True
    proto_compress_fwdbwd: bool = False
    sample_dispatch_bytes_semaphore_size: int = 10_485_760
    inflight_response_bytes_semaphore_size: int = 52_428_800
    sample_use_retrieve_futures: bool = False
    sample_join_sampling_session: bool = False
    discards_gradients: bool = False


class CreateSessionRequest(Body, tag_field="type", tag="create_session"):
    """`POST create_session`."""

    tags: list[str] = msgspec.field(default_factory=list)
    user_metadata: dict[str, Any] | None = None
    sdk_version: str = ""
    project_id: str | None = None
    display_name: str | None = None


class CreateSessionResponse(Body, tag_field="type", tag="create_session"):
    """The new session; the messages are for people."""

    session_id: str
    info_message: str | None = None
    warning_message: str | None = None
    error_message: str | None = None


class SessionHeartbeatRequest(Body, tag_field="type", tag="session_heartbeat"):
    """`POST session_heartbeat`."""

    session_id: str


class FinishReason(Body):
    """How a session ended: `success`, `errored` or `interrupted`."""

    type: str = "success"


class FinishSessionRequest(Body):
    """`POST sessions/{id}/finish`."""

    reason: FinishReason = msgspec.field(default_factory=FinishReason)
    detail: str | None = None


# ---------------------------------------------------------------- models


class CreateModelRequest(Body, tag_field="type", tag="create_model"):
    """`POST create_model`."""

    session_id: str
    model_seq_id: int
    base_model: str
    user_metadata: dict[str, Any] | None = None
    lora_config: LoraConfig | None = None
    optimizer_config: dict[str, Any] | None = None


class CreateModelResponse(Body):
    """The result of a `create_model` future."""

    model_id: str


class ModelRequest(Body):
    """`POST get_info` and `POST unload_model`."""

    model_id: str
    type: str | None = None


# ---------------------------------------------------------------- training


class ForwardBackwardInput(Body):
    """Training examples and the loss over them, as the embedded server reads them."""

    data: list[WireDatum]
    loss_fn: str
    loss_fn_config: dict[str, Any] | None = None


class WireChunk(Body):
    """A chunk of any kind; what is set tells which (the oldest clients send no `type`)."""

    type: str | None = None
    tokens: list[int] | None = None
    data: str | None = None
    location: str | None = None
    format: str | None = None
    expected_tokens: int | None = None
    dmel: str | None = None


class WireModelInput(Body):
    """A prompt or training input."""

    chunks: list[WireChunk]


class WireTensor(Body):
    """A tensor in JSON: flat values in row-major order, or CSR."""

    data: list[float | int | None]
    dtype: str = "float32"
    shape: list[int] | None = None
    sparse_crow_indices: list[int] | None = None
    sparse_col_indices: list[int] | None = None


class WireDatum(Body):
    """A training example in JSON."""

    model_input: WireModelInput
    loss_fn_inputs: dict[str, WireTensor] = msgspec.field(default_factory=dict)


class ForwardBackwardRequest(Body):
    """`POST forward_backward`."""

    forward_backward_input: ForwardBackwardInput
    model_id: str
    seq_id: int | None = None


class ForwardRequest(Body):
    """`POST forward`."""

    forward_input: ForwardBackwardInput
    model_id: str
    seq_id: int | None = None


class OptimStepRequest(Body, tag_field="type", tag="optim_step"):
    """`POST optim_step`.

    Attributes:
        discard: discard the gradients instead of applying them; a word of the embedded server.
    """

    model_id: str
    adam_params: AdamParams
    seq_id: int | None = None
    discard: bool = False


# ---------------------------------------------------------------- checkpoints


class SaveWeightsRequest(Body, tag_field="type", tag="save_weights"):
    """`POST save_weights`."""

    model_id: str
    path: str | None = None
    seq_id: int | None = None
    ttl_seconds: int | None = None
    overwrite: bool = False
    user_metadata: dict[str, Any] | None = None


class LoadWeightsRequest(Body, tag_field="type", tag="load_weights"):
    """`POST load_weights`, into an existing model (`model_id`, `seq_id`) or creating one (`session_id`, ...)."""

    path: str
    optimizer: bool = False
    model_id: str | None = None
    seq_id: int | None = None
    session_id: str | None = None
    model_seq_id: int | None = None
    base_model: str | None = None
    user_metadata: dict[str, Any] | None = None
    optimizer_config: dict[str, Any] | None = None
    weights_access_token: str | None = None


class SaveWeightsForSamplerRequest(Body, tag_field="type", tag="save_weights_for_sampler"):
    """`POST save_weights_for_sampler`, named (`path`) or ephemeral (`sampling_session_seq_id`)."""

    model_id: str
    path: str | None = None
    sampling_session_seq_id: int | None = None
    seq_id: int | None = None
    ttl_seconds: int | None = None
    user_metadata: dict[str, Any] | None = None
    kind: SamplerKind = "snapshot"


class WeightsInfoRequest(Body):
    """`POST weights_info`."""

    tinker_path: str


class WeightsInfoResponse(Body):
    """What a checkpoint was trained from."""

    base_model: str
    is_lora: bool = True
    lora_rank: int | None = None
    train_unembed: bool | None = None
    train_mlp: bool | None = None
    train_attn: bool | None = None


# ---------------------------------------------------------------- sampling


class CreateSamplingSessionRequest(Body, tag_field="type", tag="create_sampling_session"):
    """`POST create_sampling_session`: exactly one of `base_model` and `model_path`."""

    session_id: str
    sampling_session_seq_id: int
    base_model: str | None = None
    model_path: str | None = None


class CreateSamplingSessionResponse(Body, tag_field="type", tag="create_sampling_session"):
    """The new sampler."""

    sampling_session_id: str


class GetSamplerResponse(Body):
    """`GET samplers/{id}`."""

    sampler_id: str
    base_model: str
    model_path: str | None = None


class JoinSamplingSessionRequest(Body, tag_field="type", tag="join_sampling_session"):
    """`POST join_sampling_session`."""

    sampling_session_id: str


class SampleRequest(Body, tag_field="type", tag="sample"):
    """`POST asample`, as the embedded server reads it."""

    prompt: WireModelInput
    sampling_params: SamplingParams
    num_samples: int = 1
    sampling_session_id: str | None = None
    seq_id: int | None = None
    base_model: str | None = None
    model_path: str | None = None
    prompt_logprobs: bool | None = None
    topk_prompt_logprobs: int | None = 0


# ---------------------------------------------------------------- futures


class UntypedAPIFuture(Body):
    """The immediate answer to every submitted operation."""

    request_id: str
    model_id: str | None = None
    sample_sequence_ids: list[str] | None = None


class RetrieveFutureRequest(Body):
    """`POST retrieve_future`."""

    request_id: str
    allow_metadata_only: bool = False


class CompletionTarget(Body):
    """Whose completions are asked for: those of a sampler's client, or of one of its clones."""

    sampling_session_id: str
    cloned_sampler_id: Annotated[int, msgspec.Meta(ge=0)] = 0
    type: str | None = None


class RetrieveFuturesRequest(Body):
    """`POST retrieve_futures`.

    Attributes:
        target: whose completions.
        prev_cursor: how far they are known.
        timeout: seconds to wait for news at most; None leaves it to the server.
        retrieved_request_ids: results that were fetched whole.
    """

    target: CompletionTarget
    prev_cursor: int = 0
    timeout: Annotated[float, msgspec.Meta(ge=0)] | None = None
    retrieved_request_ids: list[str] = msgspec.field(default_factory=list)


class CancelFutureRequest(Body):
    """`POST cancel_future`."""

    request_id: str
