"""Types: what users pass in and get back, and what crosses the wire.

Everything public has its official name. Records are `msgspec.Struct`s; arrays stay numpy. No I/O happens here.
"""

from __future__ import annotations

from importlib import import_module as _import_module
from typing import TYPE_CHECKING
from typing import Any as _Any

from tinker_actors.loading import load as _load
from tinker_actors.types.arrays import TensorDtype
from tinker_actors.types.inputs import (
    Datum,
    EncodedTextChunk,
    ImageAssetPointerChunk,
    ImageChunk,
    LossFnInputs,
    ModelInput,
    ModelInputChunk,
)
from tinker_actors.types.paths import ParsedCheckpointTinkerPath
from tinker_actors.types.sampling import SampledSequence, SampleResponse, SamplingParams, StopReason, TopkLogprobs
from tinker_actors.types.service import GetServerCapabilitiesResponse, SupportedModel
from tinker_actors.types.tensors import TensorData
from tinker_actors.types.training import (
    AdamParams,
    ForwardBackwardOutput,
    GetInfoResponse,
    LoadWeightsResponse,
    LoraConfig,
    LossFnOutput,
    LossFnType,
    ModelData,
    OptimStepResponse,
    SaveWeightsForSamplerResponse,
    SaveWeightsResponse,
    StepResult,
)

if TYPE_CHECKING:
    from tinker_actors.types.accounts import (
        AuditLogEntry,
        AuditLogResponse,
        AuthTokenResponse,
        BillingEventInfo,
        BillingUsageEvent,
        BillingUsageResponse,
        BillingUsageSession,
        CheckpointBillingEvent,
        CurrentCheckpointStorageUsageItem,
        CurrentCheckpointStorageUsageResponse,
        SamplingPrefillBillingEvent,
        SamplingSampleBillingEvent,
        StorageBillingEvent,
        TrainingBillingEvent,
        WhoamiResponse,
    )
    from tinker_actors.types.checkpoints import (
        Checkpoint,
        CheckpointArchiveUrlResponse,
        CheckpointsListResponse,
        CheckpointType,
        CopyWeightsResponse,
        Cursor,
        ExternalWeightsUrlsResponse,
    )
    from tinker_actors.types.runs import TrainingRun, TrainingRunsResponse
    from tinker_actors.types.sessions import (
        AccessibleSearchOwner,
        ClientSessionFinished,
        ClientSessionFinishReason,
        ClientSessionFinishReasonType,
        GetSessionResponse,
        ListSessionsResponse,
        OwnSearchOwner,
        SearchOwner,
        SessionActive,
        SessionCancelled,
        SessionFailed,
        SessionSearchCursor,
        SessionSearchRequest,
        SessionSearchResponse,
        SessionStatus,
        SessionStatusQuery,
        SessionSummary,
        UserSearchOwner,
    )

__all__ = [
    "AccessibleSearchOwner",
    "AdamParams",
    "AuditLogEntry",
    "AuditLogResponse",
    "AuthTokenResponse",
    "BillingEventInfo",
    "BillingUsageEvent",
    "BillingUsageResponse",
    "BillingUsageSession",
    "Checkpoint",
    "CheckpointArchiveUrlResponse",
    "CheckpointBillingEvent",
    "CheckpointType",
    "CheckpointsListResponse",
    "ClientSessionFinishReason",
    "ClientSessionFinishReasonType",
    "ClientSessionFinished",
    "CopyWeightsResponse",
    "CurrentCheckpointStorageUsageItem",
    "CurrentCheckpointStorageUsageResponse",
    "Cursor",
    "Datum",
    "EncodedTextChunk",
    "ExternalWeightsUrlsResponse",
    "ForwardBackwardOutput",
    "GetInfoResponse",
    "GetServerCapabilitiesResponse",
    "GetSessionResponse",
    "ImageAssetPointerChunk",
    "ImageChunk",
    "ListSessionsResponse",
    "LoadWeightsResponse",
    "LoraConfig",
    "LossFnInputs",
    "LossFnOutput",
    "LossFnType",
    "ModelData",
    "ModelInput",
    "ModelInputChunk",
    "OptimStepResponse",
    "OwnSearchOwner",
    "ParsedCheckpointTinkerPath",
    "SampleResponse",
    "SampledSequence",
    "SamplingParams",
    "SamplingPrefillBillingEvent",
    "SamplingSampleBillingEvent",
    "SaveWeightsForSamplerResponse",
    "SaveWeightsResponse",
    "SearchOwner",
    "SessionActive",
    "SessionCancelled",
    "SessionFailed",
    "SessionSearchCursor",
    "SessionSearchRequest",
    "SessionSearchResponse",
    "SessionStatus",
    "SessionStatusQuery",
    "SessionSummary",
    "StepResult",
    "StopReason",
    "StorageBillingEvent",
    "SupportedModel",
    "TensorData",
    "TensorDtype",
    "TopkLogprobs",
    "TrainingBillingEvent",
    "TrainingRun",
    "TrainingRunsResponse",
    "UserSearchOwner",
    "WhoamiResponse",
]

# Records of what can be read about an account: loaded when one is first asked for. Who trains or samples asks for none.
_READ = ("accounts", "checkpoints", "runs", "sessions")


def __getattr__(name: str) -> _Any:
    if name in _READ or name in __all__:
        for home in _READ:
            _load(f"{__name__}.{home}")
            module = _import_module(f"{__name__}.{home}")
            if name == home:
                return module
            if name in vars(module):
                value = globals()[name] = vars(module)[name]
                return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
