"""The numpy engine behind the core's port: real transformers, real gradients, real samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tinker_actors.local.core.ports import (
    Arrays,
    BaseModelInfo,
    Example,
    PassOutput,
)
from tinker_actors.local.decoding import Detokenise, NumpyDecoding, Precise, cache_bytes, row_bytes
from tinker_actors.local.engine.adamw import AdamParams as EngineAdamParams
from tinker_actors.local.engine.base import BaseModel
from tinker_actors.local.engine.data import Datum, Output
from tinker_actors.local.engine.lora import Adapter, Layout, LoraSpec
from tinker_actors.local.engine.losses import LOSSES
from tinker_actors.local.engine.model import LoraModel
from tinker_actors.local.engine.peft import peft_config
from tinker_actors.local.engine.tiny import SPECIAL_TOKENS, TINY_NAME, tiny_base
from tinker_actors.local.engine.workspace import Workspace
from tinker_actors.types.training import AdamParams, LoraConfig

_ADAPTER_ARRAYS = 4


class ServedModel(msgspec.Struct, frozen=True, eq=False):
    """A base model to serve.

    Attributes:
        base: its weights.
        arch: name of its architecture.
        stand_in: whether it only bears the name.
        detokenise: turns its tokens to text, for stop strings and streams; None if there is no tokenizer.
    """

    base: BaseModel
    arch: str = "llama"
    detokenise: Detokenise | None = None
    stand_in: bool = False


class NumpyWeights(msgspec.Struct, frozen=True, eq=False):
    """Weights to sample from: a base model, with an adapter or without."""

    served: ServedModel
    adapter: Adapter | None


class NumpyModel:
    """A LoRA model of the numpy engine.

    Args:
        served: the base model.
        spec: what is trained.
        workspace: where it computes.
    """

    def __init__(self, served: ServedModel, spec: LoraSpec, workspace: Workspace) -> None:
        self._served = served
        self._spec = spec
        self._model = LoraModel(served.base, spec, workspace=workspace)

    def forward(self, data: Sequence[Example], loss_fn: str, config: Mapping[str, Any]) -> PassOutput:
        """Compute a loss.

        Inputs that the loss does not take are left out: clients that compute a loss of their own send their examples
        as they are, just for the log-probabilities (wire protocol 3.8).
        """
        loss = LOSSES[loss_fn]
        taken = {*loss.required, *loss.optional}
        return _output(self._model.forward([_datum(one, taken) for one in data], loss_fn, _numbers(config)))

    def forward_backward(self, data: Sequence[Example], loss_fn: str, config: Mapping[str, Any]) -> PassOutput:
        """Compute a loss and add its gradient."""
        return _output(self._model.forward_backward([_datum(one) for one in data], loss_fn, _numbers(config)))

    def optim_step(self, params: AdamParams) -> dict[str, float]:
        """Do one AdamW step. What can't be done leaves no gradient behind either."""
        try:
            settings = EngineAdamParams(**msgspec.structs.asdict(params))
        except ValueError:
            self.discard_gradients()
            raise
        return self._model.optim_step(settings)

    def discard_gradients(self) -> None:
        """Forget the accumulated gradient."""
        self._model.discard_gradients()

    def snapshot(self) -> NumpyWeights:
        """Return the weights as they are now."""
        return NumpyWeights(self._served, self._model.snapshot())

    def state(self) -> tuple[Arrays, Arrays]:
        """Return copies of adapter and optimizer."""
        state = self._model.state()
        return dict(state.adapter), dict(state.optimizer)

    def adapter_config(self) -> dict[str, Any]:
        """Return what PEFT has to be told about the adapter."""
        return peft_config(self._spec, self._served.base)

    def load(self, adapter: Arrays, optimizer: Arrays | None) -> None:
        """Go to a saved state."""
        self._model.load_state(adapter, optimizer)


class NumpyEngine:
    """Base models in memory, computed with numpy.

    Args:
        models: further base models by name, beside the built-in `local/tiny`.
        computing_bytes: memory for passes that are computed at the same time; None for as much as they take.
    """

    loss_functions: Sequence[str] = tuple(sorted(LOSSES))

    def __init__(self, models: Mapping[str, ServedModel] | None = None, *, computing_bytes: int | None = None) -> None:
        self._workspace = Workspace(computing_bytes)
        self._precise = Precise()
        self._served = {TINY_NAME: ServedModel(tiny_base(), detokenise=_tiny_text), **(models or {})}
        self.base_models: Mapping[str, BaseModelInfo] = {
            name: BaseModelInfo(
                name=name,
                context_length=served.base.config.context_length,
                vocab_size=served.base.config.vocab_size,
                arch=served.arch,
                tokenizer_id=name,
                stand_in=served.stand_in,
                token_bytes=cache_bytes(served.base),
                sequence_bytes=row_bytes(served.base),
            )
            for name, served in self._served.items()
        }

    def create(self, base_model: str, config: LoraConfig) -> NumpyModel:
        """Return a new adapter on a base model."""
        return NumpyModel(self._served[base_model], _spec(config), self._workspace)

    def adapter_bytes(self, base_model: str, config: LoraConfig) -> int:
        """Return the bytes of an adapter, its gradient and its two moments; 0 for a configuration that can't be one."""
        return _ADAPTER_ARRAYS * self.weights_bytes(base_model, config)

    def weights_bytes(self, base_model: str, config: LoraConfig) -> int:
        """Return the bytes of an adapter alone; 0 for a configuration that can't be one."""
        try:
            spec = _spec(config)
        except ValueError:
            return 0
        base = self._served[base_model].base
        return Layout(base.config, spec).size * base.dtype.itemsize

    def weights(self, base_model: str, config: LoraConfig | None, adapter: Arrays | None) -> NumpyWeights:
        """Return weights to sample from."""
        served = self._served[base_model]
        if config is None or adapter is None:
            return NumpyWeights(served, None)
        return NumpyWeights(served, Adapter.from_arrays(served.base.config, _spec(config), adapter))

    def decoding(self, weights: NumpyWeights) -> NumpyDecoding:
        """Return a new decoding, still without tasks."""
        base = self._precise.of(weights.served.base)
        return NumpyDecoding(base, weights.adapter, weights.served.detokenise, self._workspace)

    def text(self, base_model: str, tokens: Sequence[int]) -> str | None:
        """Return the text of tokens, or None where there is no tokenizer."""
        detokenise = self._served[base_model].detokenise
        return None if detokenise is None else detokenise(tokens)


def _spec(config: LoraConfig) -> LoraSpec:
    return LoraSpec(
        rank=config.rank,
        seed=config.seed or 0,
        train_attn=config.train_attn,
        train_mlp=config.train_mlp,
        train_unembed=config.train_unembed,
    )


def _datum(example: Example, taken: set[str] | None = None) -> Datum:
    inputs = {name: values for name, values in example.inputs.items() if taken is None or name in taken}
    return Datum(example.tokens, example.targets, inputs)


def _numbers(config: Mapping[str, Any]) -> dict[str, float]:
    for name, value in config.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"loss_fn_config {name} must be a number, got {value!r}")  # noqa: TRY004 - input, not a bug
    return {name: float(value) for name, value in config.items()}


def _output(output: Output) -> PassOutput:
    return PassOutput(list(output.logprobs), output.metrics)


_SPECIAL_TEXT = {token: text.encode() for text, token in SPECIAL_TOKENS.items()}


def _tiny_text(tokens: Sequence[int]) -> str:
    """Return the text of the built-in model's tokens: bytes, and special tokens by name."""
    return b"".join(_SPECIAL_TEXT.get(token) or bytes([token]) for token in tokens).decode("utf-8", "replace")
