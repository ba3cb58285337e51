"""The numpy engine behind the core's port: real transformers, real gradients, real samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from tinker_actors.local.core.ports import (
    Arrays,
    BaseModelInfo,
    Completion,
    Example,
    PassOutput,
    SampleOutput,
    SampleTask,
    ShouldStop,
)
from tinker_actors.local.engine.adamw import AdamParams as EngineAdamParams
from tinker_actors.local.engine.base import BaseModel
from tinker_actors.local.engine.data import Datum, Output
from tinker_actors.local.engine.lora import Adapter, LoraSpec
from tinker_actors.local.engine.losses import LOSSES
from tinker_actors.local.engine.model import LoraModel
from tinker_actors.local.engine.sampler import sample
from tinker_actors.local.engine.sampling import SampleRequest, SampleResult, check_sample_request
from tinker_actors.local.engine.tiny import SPECIAL_TOKENS, TINY_NAME, tiny_base
from tinker_actors.types.training import AdamParams, LoraConfig

Detokenise = Callable[[Sequence[int]], str]
"""Token ids to text."""


class ServedModel(msgspec.Struct, frozen=True, eq=False):
    """A base model to serve.

    Attributes:
        base: its weights.
        arch: name of its architecture.
        detokenise: turns its tokens to text, for stop strings; None if there is no tokenizer.
    """

    base: BaseModel
    arch: str = "llama"
    detokenise: Detokenise | None = None


class NumpyWeights(msgspec.Struct, frozen=True, eq=False):
    """Weights to sample from: a base model, with an adapter or without."""

    served: ServedModel
    adapter: Adapter | None


class NumpyModel:
    """A LoRA model of the numpy engine.

    Args:
        served: the base model.
        spec: what is trained.
    """

    def __init__(self, served: ServedModel, spec: LoraSpec) -> None:
        self._served = served
        self._model = LoraModel(served.base, spec)

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
        """Do one AdamW step."""
        return self._model.optim_step(
            EngineAdamParams(
                learning_rate=params.learning_rate,
                beta1=params.beta1,
                beta2=params.beta2,
                eps=params.eps,
                weight_decay=params.weight_decay,
                grad_clip_norm=params.grad_clip_norm,
            )
        )

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

    def load(self, adapter: Arrays, optimizer: Arrays | None) -> None:
        """Go to a saved state."""
        self._model.load_state(adapter, optimizer)


class NumpyEngine:
    """Base models in memory, computed with numpy.

    Args:
        models: further base models by name, beside the built-in `local/tiny`.
    """

    loss_functions: Sequence[str] = tuple(sorted(LOSSES))

    def __init__(self, models: Mapping[str, ServedModel] | None = None) -> None:
        self._served = {TINY_NAME: ServedModel(tiny_base(), detokenise=_tiny_text), **(models or {})}
        self.base_models: Mapping[str, BaseModelInfo] = {
            name: BaseModelInfo(
                name=name,
                context_length=served.base.config.context_length,
                vocab_size=served.base.config.vocab_size,
                arch=served.arch,
                tokenizer_id=name,
            )
            for name, served in self._served.items()
        }

    def create(self, base_model: str, config: LoraConfig) -> NumpyModel:
        """Return a new adapter on a base model."""
        return NumpyModel(self._served[base_model], _spec(config))

    def weights(self, base_model: str, config: LoraConfig | None, adapter: Arrays | None) -> NumpyWeights:
        """Return weights to sample from."""
        served = self._served[base_model]
        if config is None or adapter is None:
            return NumpyWeights(served, None)
        return NumpyWeights(served, Adapter.from_arrays(served.base.config, _spec(config), adapter))

    def sample(
        self, weights: NumpyWeights, tasks: Sequence[SampleTask], should_stop: ShouldStop
    ) -> list[SampleOutput | ValueError | None]:
        """Draw the completions of all tasks in one batch."""
        served = weights.served
        outcomes: list[SampleOutput | ValueError | None] = [None] * len(tasks)
        valid: dict[int, SampleRequest] = {}
        for index, task in enumerate(tasks):
            try:
                valid[index] = _checked(task, served)
            except ValueError as error:
                outcomes[index] = error
        places = list(valid)
        results = sample(
            served.base,
            weights.adapter,
            list(valid.values()),
            detokenise=served.detokenise,
            should_stop=lambda position: should_stop(places[position]),
        )
        for index, result in zip(places, results, strict=True):
            outcomes[index] = None if result is None else _sampled(result)
        return outcomes


def _spec(config: LoraConfig) -> LoraSpec:
    return LoraSpec(
        rank=config.rank,
        seed=config.seed or 0,
        train_attn=config.train_attn,
        train_mlp=config.train_mlp,
        train_unembed=config.train_unembed,
    )


def _datum(example: Example, taken: set[str] | None = None) -> Datum:
    if example.targets.ndim != 1:
        raise ValueError(f"this server takes one target per position, not target_tokens of {example.targets.shape}")
    inputs = {name: values for name, values in example.inputs.items() if taken is None or name in taken}
    return Datum(example.tokens, example.targets, inputs)


def _numbers(config: Mapping[str, Any]) -> dict[str, float]:
    for name, value in config.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"loss_fn_config {name} must be a number, got {value!r}")  # noqa: TRY004 - input, not a bug
    return {name: float(value) for name, value in config.items()}


def _output(output: Output) -> PassOutput:
    return PassOutput(list(output.logprobs), output.metrics)


def _checked(task: SampleTask, served: ServedModel) -> SampleRequest:
    if served.detokenise is None and any(isinstance(rule, str) for rule in task.stop or ()):
        raise ValueError("this model has no tokenizer here: give stop as token ids, not as text")
    request = SampleRequest(
        prompt=task.prompt,
        num_samples=task.num_samples,
        max_tokens=task.max_tokens,
        temperature=task.temperature,
        top_k=-1 if task.top_k is None else task.top_k,
        top_p=task.top_p,
        seed=task.seed,
        stop=task.stop,
        prompt_logprobs=task.prompt_logprobs,
        topk_prompt_logprobs=task.topk_prompt_logprobs,
    )
    check_sample_request(request, served.base.config)
    return request


def _sampled(result: SampleResult) -> SampleOutput:
    completions = [Completion(one.tokens.tolist(), one.logprobs.tolist(), one.stop_reason) for one in result.sequences]
    return SampleOutput(completions, result.prompt_logprobs, result.topk_prompt_logprobs)


_SPECIAL_TEXT = {token: text.encode() for text, token in SPECIAL_TOKENS.items()}


def _tiny_text(tokens: Sequence[int]) -> str:
    """Return the text of the built-in model's tokens: bytes, and special tokens by name."""
    return b"".join(_SPECIAL_TEXT.get(token) or bytes([token]) for token in tokens).decode("utf-8", "replace")
