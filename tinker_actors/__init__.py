"""tinker_actors: a pykka-based client runtime for the Tinker API, with an embedded Tinker server.

import tinker_actors as ta

with ta.ServiceClient(base_url="local:") as service:
trainer = service.create_lora_training_client("local/tiny", rank=32, seed=0)
"""

from __future__ import annotations

import importlib as _importlib
from typing import TYPE_CHECKING
from typing import Any as _Any

from tinker_actors import types
from tinker_actors.config import Config
from tinker_actors.errors import (
    ActorCrashedError,
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    BillingError,
    ClientClosedError,
    ConfigError,
    ConflictError,
    DeadlineExceededError,
    ForkedError,
    InternalServerError,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    PrecedingOperationFailed,
    QueueFullError,
    RateLimitError,
    RequestFailedError,
    SamplerLostError,
    SessionLostError,
    StalledError,
    StepTaintedError,
    TinkerError,
    UnprocessableEntityError,
    WouldDeadlockError,
)
from tinker_actors.loading import load as _load
from tinker_actors.types import (
    AdamParams,
    Datum,
    EncodedTextChunk,
    ForwardBackwardOutput,
    GetInfoResponse,
    GetServerCapabilitiesResponse,
    ImageAssetPointerChunk,
    ImageChunk,
    LoadWeightsResponse,
    LoraConfig,
    LossFnType,
    ModelInput,
    ModelInputChunk,
    OptimStepResponse,
    ParsedCheckpointTinkerPath,
    SampledSequence,
    SampleResponse,
    SamplingParams,
    SaveWeightsForSamplerResponse,
    SaveWeightsResponse,
    StepResult,
    StopReason,
    TensorData,
    TensorDtype,
)
from tinker_actors.types.spelling import spelled as _spelled
from tinker_actors.version import VERSION as _VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tinker_actors import data
    from tinker_actors.clients.fan_out import FanOut
    from tinker_actors.clients.policy import PinnedPolicy, Policy
    from tinker_actors.clients.policy_proxy import PinnedPolicyProxy, PolicyProxy
    from tinker_actors.clients.sampling import SamplingClient
    from tinker_actors.clients.sampling_proxy import SamplingProxy
    from tinker_actors.clients.service import ServiceClient
    from tinker_actors.clients.service_proxy import ServiceProxy
    from tinker_actors.clients.training import TrainingClient
    from tinker_actors.clients.training_proxy import TrainingProxy
    from tinker_actors.local.process import LocalServer
    from tinker_actors.runtime.futures import APIFuture

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIFuture",
    "APIResponseValidationError",
    "APIStatusError",
    "APITimeoutError",
    "ActorCrashedError",
    "AdamParams",
    "AuthenticationError",
    "BadRequestError",
    "BillingError",
    "ClientClosedError",
    "Config",
    "ConfigError",
    "ConflictError",
    "Datum",
    "DeadlineExceededError",
    "EncodedTextChunk",
    "FanOut",
    "ForkedError",
    "ForwardBackwardOutput",
    "GetInfoResponse",
    "GetServerCapabilitiesResponse",
    "ImageAssetPointerChunk",
    "ImageChunk",
    "InternalServerError",
    "InvalidInputError",
    "LoadWeightsResponse",
    "LoraConfig",
    "LossFnType",
    "ModelInput",
    "ModelInputChunk",
    "NotFoundError",
    "OptimStepResponse",
    "OutcomeUnknownError",
    "ParsedCheckpointTinkerPath",
    "PermissionDeniedError",
    "PinnedPolicy",
    "PinnedPolicyProxy",
    "Policy",
    "PolicyProxy",
    "PrecedingOperationFailed",
    "QueueFullError",
    "RateLimitError",
    "RequestFailedError",
    "SampleResponse",
    "SampledSequence",
    "SamplerLostError",
    "SamplingClient",
    "SamplingParams",
    "SamplingProxy",
    "SaveWeightsForSamplerResponse",
    "SaveWeightsResponse",
    "ServiceClient",
    "ServiceProxy",
    "SessionLostError",
    "StalledError",
    "StepResult",
    "StepTaintedError",
    "StopReason",
    "TensorData",
    "TensorDtype",
    "TinkerError",
    "TrainingClient",
    "TrainingProxy",
    "UnprocessableEntityError",
    "WouldDeadlockError",
    "data",
    "local_server",
    "types",
]

__version__ = _VERSION


@_spelled("local_server")
def local_server(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    models: Mapping[str, str | Path] | None = None,
    data_dir: str | Path | None = None,
    insecure: bool = False,
    allowed_hosts: Sequence[str] = (),
    api_keys: Mapping[str, str] | None = None,
    jwt: bool = False,
    engine: str = "numpy",
    log_level: str = "warning",
    start_timeout: float = 60.0,
    limits: Mapping[str, float] | None = None,
    fault_seed: int = 0,
    stand_ins: Mapping[str, int | None] | None = None,
    adopt: bool = False,
) -> LocalServer:
    """Start an embedded server in a process of its own and return it, when it listens.

    Use it in a `with` statement, or `stop()` it; `url` is its address, `faults` what goes wrong on it. Needs the
    `local` extra.

    Args:
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        models: further base models: name -> folder in Hugging Face layout.
        data_dir: where checkpoints are kept; None for a temporary folder that is removed on `stop`.
        insecure: allow a host that other machines can reach.
        allowed_hosts: further names by which the server may be called, beside loopback's and `host`; `*` for any.
        api_keys: key -> owner; with any, the server asks for one.
        jwt: tell clients to change their key for a token.
        engine: `"numpy"`, or `"ledger"` for one that only keeps account of what was done.
        log_level: `"debug"` to `"critical"`: of the server's log, whose end is in errors.
        start_timeout: seconds it may take to listen.
        limits: fields of `tinker_actors.local.core.Limits` to set, e.g. `{"hold_seconds": 2}`.
        fault_seed: what the chances of `faults` depend on.
        stand_ins: small random models under the names of real ones: name -> size of the vocabulary, None for the size
            that the real one is known to have.
        adopt: take checkpoints in that are in `data_dir` and that its database does not list.

    Raises:
        LocalServerError: it did not start, or the extra is not installed; the message says why.
    """
    options = dict(locals())
    _load("tinker_actors.local.process")
    from tinker_actors.local.process import LocalServer  # noqa: PLC0415 - the server is an extra

    return LocalServer(**options).start()


# Loaded when they are first asked for: a data loader that needs only the types, the server and the command line do
# without actors and sockets.
_HOMES = {
    "APIFuture": "runtime.futures",
    "FanOut": "clients.fan_out",
    "PinnedPolicy": "clients.policy",
    "PinnedPolicyProxy": "clients.policy_proxy",
    "Policy": "clients.policy",
    "PolicyProxy": "clients.policy_proxy",
    "SamplingClient": "clients.sampling",
    "SamplingProxy": "clients.sampling_proxy",
    "ServiceClient": "clients.service",
    "ServiceProxy": "clients.service_proxy",
    "TrainingClient": "clients.training",
    "TrainingProxy": "clients.training_proxy",
    "data": "data",
}


def __getattr__(name: str) -> _Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = f"{__name__}.{_HOMES[name]}"
    _load(home)
    module = _importlib.import_module(home)
    value = globals()[name] = module if name == "data" else getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
