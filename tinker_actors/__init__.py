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
from tinker_actors.version import VERSION as _VERSION

if TYPE_CHECKING:
    from tinker_actors import data
    from tinker_actors.clients.fan_out import FanOut
    from tinker_actors.clients.policy import PinnedPolicy, Policy
    from tinker_actors.clients.sampling import SamplingClient
    from tinker_actors.clients.service import ServiceClient
    from tinker_actors.clients.training import TrainingClient
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
    "Policy",
    "PrecedingOperationFailed",
    "QueueFullError",
    "RateLimitError",
    "RequestFailedError",
    "SampleResponse",
    "SampledSequence",
    "SamplerLostError",
    "SamplingClient",
    "SamplingParams",
    "SaveWeightsForSamplerResponse",
    "SaveWeightsResponse",
    "ServiceClient",
    "SessionLostError",
    "StalledError",
    "StepResult",
    "StepTaintedError",
    "StopReason",
    "TensorData",
    "TensorDtype",
    "TinkerError",
    "TrainingClient",
    "UnprocessableEntityError",
    "WouldDeadlockError",
    "data",
    "local_server",
    "types",
]

__version__ = _VERSION


def local_server(**options: _Any) -> _Any:
    """Start an embedded server in a process of its own and return it; a context manager with `url` and `stop()`.

    Needs the `local` extra. Options as for `tinker_actors.local.process.local_server`.
    """
    from tinker_actors.local.process import local_server as start  # noqa: PLC0415 - the server is an extra

    return start(**options)


# Loaded when they are first asked for: a data loader that needs only the types, the server and the command line do
# without actors and sockets.
_HOMES = {
    "APIFuture": "runtime.futures",
    "FanOut": "clients.fan_out",
    "PinnedPolicy": "clients.policy",
    "Policy": "clients.policy",
    "SamplingClient": "clients.sampling",
    "ServiceClient": "clients.service",
    "TrainingClient": "clients.training",
}


def __getattr__(name: str) -> _Any:
    if name == "data":
        return _importlib.import_module(f"{__name__}.data")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(_importlib.import_module(f"{__name__}.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
