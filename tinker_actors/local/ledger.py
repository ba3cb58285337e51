"""The ledger engine: weights that are a hash chain of what was applied to them.

For simulations and protocol tests. Two models have equal weights exactly if the same operations were applied to them in
the same order, so that an operation lost, doubled or swapped shows in one value; it costs no arithmetic to speak of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from tinker_actors.local.core.ports import (
    Arrays,
    BaseModelInfo,
    Completion,
    Example,
    PassOutput,
    SampleOutput,
    SampleTask,
    TopTokens,
)
from tinker_actors.types.training import AdamParams, LoraConfig

LEDGER_NAME = "local/ledger"
"""The base model's name in requests."""

VOCAB_SIZE = 1000
CONTEXT_LENGTH = 4096
EOS = 999

DEFAULT_MAX_TOKENS = 16
"""New tokens where a request sets no limit."""

_METRIC_BITS = 48
"""Bits of a hash that are shown as a metric: a float64 holds 53 exactly."""


def chained(link: bytes, *parts: Any) -> bytes:
    """Return the next link of a chain: the hash of the last one and of what was applied.

    Args:
        link: the last link.
        parts: what was applied, in JSON types and arrays.
    """
    found = hashlib.sha256(link)
    for part in parts:
        found.update(b"|")
        found.update(part.tobytes() if isinstance(part, np.ndarray) else msgspec.json.encode(part))
    return found.digest()


def shown(link: bytes) -> float:
    """Return a chain's link as the number by which metrics show it."""
    return float(int.from_bytes(link[: _METRIC_BITS // 8], "big"))


class LedgerWeights(msgspec.Struct, frozen=True):
    """Weights to sample from: the link of the chain that they are."""

    link: bytes


class LedgerModel:
    """A model whose weights are a chain of links.

    `weights` is the chain after the last step, `pending` that chain with the gradients accumulated since, `moments` the
    chain of the optimizer's own state, which later weights depend on. Metrics show `weights:unique` (a `pending` one
    after a gradient) and how many operations there were, `forward_backwards:max` and `steps:max`.

    Args:
        config: what the adapter is; part of the first link.
    """

    def __init__(self, config: LoraConfig) -> None:
        self.weights = chained(b"", config)
        self.pending = self.weights
        self.moments = chained(b"", "fresh")
        self.forward_backwards = 0
        self.steps = 0

    def forward(self, data: Sequence[Example], loss_fn: str, config: Mapping[str, Any]) -> PassOutput:
        """Compute a loss that depends on the weights and the data."""
        return self._output(self.weights, data, loss_fn, config)

    def forward_backward(self, data: Sequence[Example], loss_fn: str, config: Mapping[str, Any]) -> PassOutput:
        """Compute the same, and note the data as a gradient."""
        output = self._output(self.weights, data, loss_fn, config)
        self.pending = chained(self.pending, "forward_backward", *_parts(data, loss_fn, config))
        self.forward_backwards += 1
        return msgspec.structs.replace(output, metrics={**output.metrics, **self._metrics(self.pending)})

    def optim_step(self, params: AdamParams) -> dict[str, float]:
        """Make the noted gradients part of the weights."""
        self.weights = chained(self.pending, "optim_step", self.moments.hex(), params)
        self.moments = chained(self.moments, self.pending.hex(), params)
        self.steps += 1
        self.discard_gradients()
        return self._metrics(self.weights)

    def discard_gradients(self) -> None:
        """Forget the noted gradients."""
        self.pending = self.weights

    def snapshot(self) -> LedgerWeights:
        """Return the weights as they are now."""
        return LedgerWeights(self.weights)

    def state(self) -> tuple[Arrays, Arrays]:
        """Return the chain, and the optimizer's chain and count."""
        adapter = {"link": np.frombuffer(self.weights, np.uint8).copy()}
        moments = np.frombuffer(self.moments, np.uint8).copy()
        return adapter, {"moments": moments, "steps": np.array([self.steps], np.int64)}

    def adapter_config(self) -> dict[str, Any]:
        """Say that this is no adapter."""
        return {"peft_type": "LEDGER"}

    def load(self, adapter: Arrays, optimizer: Arrays | None) -> None:
        """Go to a saved chain."""
        self.weights = adapter["link"].tobytes()
        self.moments = chained(b"", "fresh") if optimizer is None else optimizer["moments"].tobytes()
        self.steps = 0 if optimizer is None else int(optimizer["steps"][0])
        self.discard_gradients()

    def _metrics(self, link: bytes) -> dict[str, float]:
        return {
            "weights:unique": shown(link),
            "forward_backwards:max": float(self.forward_backwards),
            "steps:max": float(self.steps),
        }

    def _output(self, link: bytes, data: Sequence[Example], loss_fn: str, config: Mapping[str, Any]) -> PassOutput:
        logprobs = []
        for example in data:
            draw = _generator(chained(link, "pass", *_parts([example], loss_fn, config)))
            logprobs.append(-draw.random(example.targets.shape).astype(np.float32))
        loss = -float(sum(values.sum(dtype=np.float64) for values in logprobs))
        return PassOutput(logprobs, {"loss:sum": loss})


class LedgerDecoding:
    """Draws tokens that depend on weights, prompt and seed; the seed plays no part at temperature 0.

    What a task will draw is known when it joins; the steps only decide when it is finished.

    Args:
        weights: what is drawn from.
    """

    def __init__(self, weights: LedgerWeights) -> None:
        self._weights = weights
        self._outputs: dict[int, SampleOutput] = {}
        self._steps: dict[int, int] = {}

    def admit(self, tasks: Sequence[tuple[int, SampleTask]]) -> list[tuple[int, ValueError]]:
        """Take tasks in; every one is valid."""
        for key, task in tasks:
            self._outputs[key] = _sampled(self._weights, task)
            self._steps[key] = 0
        return []

    def step(self) -> list[tuple[int, SampleOutput]]:
        """Count one token for every completion."""
        finished = []
        for key, output in self._outputs.items():
            self._steps[key] += 1
            if self._steps[key] >= max(len(completion.tokens) for completion in output.completions):
                finished.append((key, output))
        self.drop([key for key, _ in finished])
        return finished

    def drop(self, keys: Collection[int]) -> None:
        """Stop working on tasks."""
        for key in keys:
            self._outputs.pop(key, None)
            self._steps.pop(key, None)

    def drawn(self, key: int, start: int) -> tuple[list[int], list[float]]:
        """Return what an unfinished task's first completion has from position `start` on."""
        first, end = self._outputs[key].completions[0], self._steps[key]
        return first.tokens[start:end], first.logprobs[start:end]


class LedgerEngine:
    """The engine of the ledger: one base model of its own, or others by name.

    Args:
        names: names of the base models.
        stand_ins: names of further ones that stand for real ones -> how many tokens those have.
    """

    loss_functions: Sequence[str] = ("cross_entropy", "importance_sampling", "ppo")

    def __init__(self, names: Sequence[str] = (LEDGER_NAME,), stand_ins: Mapping[str, int] | None = None) -> None:
        sizes = {**dict.fromkeys(names, VOCAB_SIZE), **(stand_ins or {})}
        self.base_models: Mapping[str, BaseModelInfo] = {
            name: BaseModelInfo(
                name=name,
                context_length=CONTEXT_LENGTH,
                vocab_size=size,
                arch="ledger",
                tokenizer_id=name,
                stand_in=name in (stand_ins or {}),
            )
            for name, size in sizes.items()
        }

    def create(self, base_model: str, config: LoraConfig) -> LedgerModel:
        """Return a new model; its first link comes from the configuration only."""
        assert base_model in self.base_models
        return LedgerModel(config)

    def adapter_bytes(self, _base_model: str, _config: LoraConfig) -> int:
        """Return 0: an account takes no memory."""
        return 0

    def weights_bytes(self, _base_model: str, _config: LoraConfig) -> int:
        """Return 0, likewise."""
        return 0

    def weights(self, base_model: str, config: LoraConfig | None, adapter: Arrays | None) -> LedgerWeights:
        """Return weights to sample from."""
        assert base_model in self.base_models
        if config is None or adapter is None:
            return LedgerWeights(chained(b"", "base"))
        return LedgerWeights(adapter["link"].tobytes())

    def decoding(self, weights: LedgerWeights) -> LedgerDecoding:
        """Return a new decoding, still without tasks."""
        return LedgerDecoding(weights)

    def text(self, base_model: str, tokens: Sequence[int]) -> str:
        """Return tokens as words."""
        assert base_model in self.base_models
        return "".join(f"{token} " for token in tokens)


def _sampled(weights: LedgerWeights, task: SampleTask) -> SampleOutput:
    scored: list[float | None] = [None]
    scored += (-_generator(chained(weights.link, "prompt", task.prompt)).random(len(task.prompt) - 1)).tolist()
    if task.prompt_logprobs_last_n is not None:
        unscored = len(scored) - task.prompt_logprobs_last_n
        scored[:unscored] = [None] * unscored
    return SampleOutput(
        [_completion(weights, task, index) for index in range(task.num_samples)],
        scored if task.prompt_logprobs else None,
        _topk(scored, task.topk_prompt_logprobs) if task.topk_prompt_logprobs else None,
        _targeted(weights, task.target_prompt_logprobs) if task.target_prompt_logprobs is not None else None,
    )


def _targeted(weights: LedgerWeights, targets: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    values = -_generator(chained(weights.link, "targets", targets)).random(targets.shape)
    return np.where(targets < 0, 0.0, values).astype(np.float32)


def _completion(weights: LedgerWeights, task: SampleTask, index: int) -> Completion:
    seed = [] if task.temperature == 0 else [task.seed, index]
    draw = _generator(chained(weights.link, "sample", task.prompt, *seed))
    room = max(1, CONTEXT_LENGTH - len(task.prompt))
    tokens = draw.integers(0, VOCAB_SIZE, min(room, task.max_tokens or DEFAULT_MAX_TOKENS)).tolist()
    logprobs = (-draw.random(len(tokens))).tolist()
    rules: tuple[Any, ...] = ((EOS,),) if task.stop is None else task.stop
    single = {rule[0] for rule in rules if isinstance(rule, tuple) and len(rule) == 1}
    ends = [end for end, token in enumerate(tokens, start=1) if token in single]
    count = ends[0] if ends else len(tokens)
    top = [row for row in _topk(logprobs[:count], task.topk_sample_logprobs) if row is not None]
    return Completion(
        tokens[:count], logprobs[:count], "stop" if ends else "length", top if task.topk_sample_logprobs else None
    )


def _topk(scored: Sequence[float | None], count: int) -> list[TopTokens | None]:
    return [None if value is None else [(rank, value - rank) for rank in range(count)] for value in scored]


def _parts(data: Sequence[Example], loss_fn: str, config: Mapping[str, Any]) -> list[Any]:
    parts: list[Any] = [loss_fn, dict(sorted(config.items()))]
    for example in data:
        parts += [example.tokens, example.targets]
        for name in sorted(example.inputs):
            parts += [name, example.inputs[name]]
    return parts


def _generator(link: bytes) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(link, "big"))
