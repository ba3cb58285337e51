"""The ledger engine: weights that are a hash chain of what was applied to them.

For simulations and protocol tests. Two models have equal weights exactly if the same operations were applied to them in
the same order, so that an operation lost, doubled or swapped shows in one value; it costs no arithmetic to speak of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

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


class LedgerEngine:
    """The engine of the ledger: one base model of its own, or stand-ins under other names.

    Args:
        names: names of the base models.
    """

    loss_functions: Sequence[str] = ("cross_entropy", "importance_sampling", "ppo")

    def __init__(self, names: Sequence[str] = (LEDGER_NAME,)) -> None:
        self.base_models: Mapping[str, BaseModelInfo] = {
            name: BaseModelInfo(
                name=name, context_length=CONTEXT_LENGTH, vocab_size=VOCAB_SIZE, arch="ledger", tokenizer_id=name
            )
            for name in names
        }

    def create(self, base_model: str, config: LoraConfig) -> LedgerModel:
        """Return a new model; its first link comes from the configuration only."""
        assert base_model in self.base_models
        return LedgerModel(config)

    def weights(self, base_model: str, config: LoraConfig | None, adapter: Arrays | None) -> LedgerWeights:
        """Return weights to sample from."""
        assert base_model in self.base_models
        if config is None or adapter is None:
            return LedgerWeights(chained(b"", "base"))
        return LedgerWeights(adapter["link"].tobytes())

    def sample(
        self, weights: LedgerWeights, tasks: Sequence[SampleTask], should_stop: ShouldStop
    ) -> list[SampleOutput | ValueError | None]:
        """Draw tokens that depend on weights, prompt and seed; the seed plays no part at temperature 0."""
        return [None if should_stop(index) else _sampled(weights, task) for index, task in enumerate(tasks)]


def _sampled(weights: LedgerWeights, task: SampleTask) -> SampleOutput:
    scored: list[float | None] = [None]
    scored += (-_generator(chained(weights.link, "prompt", task.prompt)).random(len(task.prompt) - 1)).tolist()
    return SampleOutput(
        [_completion(weights, task, index) for index in range(task.num_samples)],
        scored if task.prompt_logprobs else None,
        _topk(scored, task) if task.topk_prompt_logprobs else None,
    )


def _completion(weights: LedgerWeights, task: SampleTask, index: int) -> Completion:
    seed = [] if task.temperature == 0 else [task.seed, index]
    draw = _generator(chained(weights.link, "sample", task.prompt, *seed))
    room = CONTEXT_LENGTH - len(task.prompt)
    tokens = draw.integers(0, VOCAB_SIZE, min(room, task.max_tokens or DEFAULT_MAX_TOKENS)).tolist()
    logprobs = (-draw.random(len(tokens))).tolist()
    rules: tuple[Any, ...] = ((EOS,),) if task.stop is None else task.stop
    single = {rule[0] for rule in rules if isinstance(rule, tuple) and len(rule) == 1}
    for end, token in enumerate(tokens, start=1):
        if token in single:
            return Completion(tokens[:end], logprobs[:end], "stop")
    return Completion(tokens, logprobs, "length")


def _topk(scored: list[float | None], task: SampleTask) -> list[list[tuple[int, float]] | None]:
    return [
        None if value is None else [(rank, value - rank) for rank in range(task.topk_prompt_logprobs)]
        for value in scored
    ]


def _parts(data: Sequence[Example], loss_fn: str, config: Mapping[str, Any]) -> list[Any]:
    parts: list[Any] = [loss_fn, dict(sorted(config.items()))]
    for example in data:
        parts += [example.tokens, example.targets]
        for name in sorted(example.inputs):
            parts += [name, example.inputs[name]]
    return parts


def _generator(link: bytes) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(link, "big"))
