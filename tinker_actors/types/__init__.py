"""Types: what users pass in and get back, and what crosses the wire.

Everything public has its official name. Records are `msgspec.Struct`s; arrays stay numpy. No I/O happens here.
"""

from __future__ import annotations

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
from tinker_actors.types.tensors import TensorData, TensorDtype
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
)

__all__ = [
    "AdamParams",
    "Datum",
    "EncodedTextChunk",
    "ForwardBackwardOutput",
    "GetInfoResponse",
    "GetServerCapabilitiesResponse",
    "ImageAssetPointerChunk",
    "ImageChunk",
    "LoadWeightsResponse",
    "LoraConfig",
    "LossFnInputs",
    "LossFnOutput",
    "LossFnType",
    "ModelData",
    "ModelInput",
    "ModelInputChunk",
    "OptimStepResponse",
    "ParsedCheckpointTinkerPath",
    "SampleResponse",
    "SampledSequence",
    "SamplingParams",
    "SaveWeightsForSamplerResponse",
    "SaveWeightsResponse",
    "StopReason",
    "SupportedModel",
    "TensorData",
    "TensorDtype",
    "TopkLogprobs",
]
