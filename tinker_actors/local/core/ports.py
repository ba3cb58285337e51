"""Ports: what the core needs of an engine, and the records that pass through them.

An engine computes, and knows no requests, futures or sessions. It is called from jobs, that is from worker threads,
except where a docstring says otherwise.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from tinker_actors.types.arrays import Array
from tinker_actors.types.training import AdamParams, LoraConfig

Arrays = dict[str, Array]
"""Name -> array, as they are kept on disk."""

Stop = str | tuple[int, ...]
"""What ends a completion that contains it: a text, or a run of token ids."""

TopTokens = list[tuple[int, float]]
"""(token id, log-probability), likeliest first."""


class BaseModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A base model that an engine has.

    Attributes:
        name: its name on the wire.
        context_length: most tokens of prompt and completion together.
        vocab_size: token ids are below this.
        arch: name of the architecture.
        tokenizer_id: name of its tokenizer.
        stand_in: whether it only bears the name: small, with random weights and the real vocabulary's size.
        token_bytes: memory that a token takes while its sequence is drawn.
        sequence_bytes: memory that a sequence takes beside its tokens.
    """

    name: str
    context_length: int
    vocab_size: int
    arch: str
    tokenizer_id: str
    stand_in: bool = False
    token_bytes: int = 0
    sequence_bytes: int = 0


class Example(msgspec.Struct, frozen=True, eq=False):
    """A training example, checked against the vocabulary and for alignment.

    Attributes:
        tokens: (N,) int64, the input.
        targets: (N,) or (N, K) int64, what each position predicts.
        inputs: the other loss inputs by name, float64, finite.
    """

    tokens: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    inputs: dict[str, npt.NDArray[np.float64]]


class PassOutput(msgspec.Struct, frozen=True, eq=False):
    """What a forward or forward_backward gives.

    Attributes:
        logprobs: per example, float32 in the shape of its targets.
        metrics: by `name:reduction`, with exactly one colon; at least `loss:sum`.
    """

    logprobs: list[Array]
    metrics: dict[str, float]


class SampleTask(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """What to sample.

    Attributes:
        prompt: (N,) int64, at least one token and no more than the context, within the vocabulary.
        num_samples: completions to draw.
        max_tokens: most new tokens of each, at least 1; None for as many as the context allows.
        temperature: divides the logits; 0 is greedy.
        top_k: draw from this many likeliest tokens; None for all.
        top_p: draw from the smallest set with this much probability, in (0, 1].
        seed: same seed, same draw.
        stop: what ends a completion; None for the model's own end-of-sequence tokens, () for nothing.
        prompt_logprobs: whether to score the prompt.
        topk_prompt_logprobs: likeliest tokens to list per prompt position; 0 for none.
        prompt_logprobs_last_n: score the last n tokens of the prompt only; None for all.
        target_prompt_logprobs: (N - 1, K) int64, token ids to score behind each position; -1 for nothing.
        topk_sample_logprobs: likeliest tokens to list per token drawn; 0 for none.
    """

    prompt: npt.NDArray[np.int64]
    num_samples: int
    max_tokens: int | None
    temperature: float
    top_k: int | None
    top_p: float
    seed: int
    stop: tuple[Stop, ...] | None
    prompt_logprobs: bool
    topk_prompt_logprobs: int
    prompt_logprobs_last_n: int | None = None
    target_prompt_logprobs: npt.NDArray[np.int64] | None = None
    topk_sample_logprobs: int = 0

    @property
    def listed(self) -> int:
        """How many likeliest tokens are listed at most."""
        drawn = self.num_samples * (self.max_tokens or 0)
        return len(self.prompt) * self.topk_prompt_logprobs + drawn * self.topk_sample_logprobs


class Completion(msgspec.Struct, frozen=True, eq=False):
    """One drawn sequence.

    Attributes:
        tokens: the new tokens.
        logprobs: their log-probabilities.
        stop_reason: whether it ended by itself.
        topk_logprobs: one entry per new token; None when not asked for.
    """

    tokens: list[int]
    logprobs: list[float]
    stop_reason: Literal["stop", "length"]
    topk_logprobs: list[TopTokens] | None = None


class SampleOutput(msgspec.Struct, frozen=True, eq=False):
    """What a sample task gives.

    Attributes:
        completions: one per sample.
        prompt_logprobs: one entry per prompt token, None for those not scored; None when not asked for.
        topk_prompt_logprobs: one entry per prompt token, None for those not scored; None when not asked for.
        target_prompt_logprobs: (N - 1, K) float32, 0 where there was nothing to score; None when not asked for.
    """

    completions: list[Completion]
    prompt_logprobs: list[float | None] | None = None
    topk_prompt_logprobs: list[TopTokens | None] | None = None
    target_prompt_logprobs: npt.NDArray[np.float32] | None = None


class TrainedModel(Protocol):
    """An adapter in training. The core calls it for one operation at a time. Bad input raises ValueError."""

    def forward(self, data: Sequence[Example], loss_fn: str, config: Mapping[str, Any]) -> PassOutput:
        """Compute a loss, and no gradient."""
        ...

    def forward_backward(self, data: Sequence[Example], loss_fn: str, config: Mapping[str, Any]) -> PassOutput:
        """Compute a loss and add its gradient to what has accumulated; all of it or, on an error, nothing."""
        ...

    def optim_step(self, params: AdamParams) -> dict[str, float]:
        """Apply the accumulated gradient and forget it. Returns metrics."""
        ...

    def discard_gradients(self) -> None:
        """Forget the accumulated gradient."""
        ...

    def snapshot(self) -> Any:
        """Return the weights as they are now, immutable, for `Engine.decoding`."""
        ...

    def state(self) -> tuple[Arrays, Arrays]:
        """Return copies of the adapter and of the optimizer's state."""
        ...

    def adapter_config(self) -> dict[str, Any]:
        """Return what PEFT has to be told about the adapter, in JSON types: the content of `adapter_config.json`."""
        ...

    def load(self, adapter: Arrays, optimizer: Arrays | None) -> None:
        """Go to a saved state, with a fresh optimizer for None; accumulated gradients are forgotten."""
        ...


class Decoding(Protocol):
    """Completions being drawn with the same weights, a token at a time; tasks join and leave between any two steps.

    For one thread at a time. What a task draws does not depend on the others.
    """

    def admit(self, tasks: Sequence[tuple[int, SampleTask]]) -> list[tuple[int, ValueError]]:
        """Take tasks in, under keys of the caller's choice; returns those that are not valid, which are not taken."""
        ...

    def step(self) -> list[tuple[int, SampleOutput]]:
        """Draw one token for every completion; returns the tasks that are finished with it."""
        ...

    def drop(self, keys: Collection[int]) -> None:
        """Stop working on tasks."""
        ...

    def drawn(self, key: int, start: int) -> tuple[list[int], list[float]]:
        """Return tokens and log-probabilities of an unfinished task's first completion, from position `start` on."""
        ...


class Engine(Protocol):
    """Computes. `base_models` and `loss_functions` may be read from any thread."""

    @property
    def base_models(self) -> Mapping[str, BaseModelInfo]:
        """The base models by name."""
        ...

    @property
    def loss_functions(self) -> Sequence[str]:
        """The names of the loss functions."""
        ...

    def create(self, base_model: str, config: LoraConfig) -> TrainedModel:
        """Return a new adapter; `config.seed` is set. The same arguments give the same bits."""
        ...

    def adapter_bytes(self, base_model: str, config: LoraConfig) -> int:
        """Return how much memory a new adapter takes once it is trained; for a configuration that can't be one, 0."""
        ...

    def weights_bytes(self, base_model: str, config: LoraConfig) -> int:
        """Return how much memory weights to sample from take beside their base model's, likewise."""
        ...

    def weights(self, base_model: str, config: LoraConfig | None, adapter: Arrays | None) -> Any:
        """Return weights for `decoding`: the bare base model, or one with a saved adapter."""
        ...

    def decoding(self, weights: Any) -> Decoding:
        """Return a new decoding with these weights, still without tasks."""
        ...

    def text(self, base_model: str, tokens: Sequence[int]) -> str | None:
        """Return the text of tokens, U+FFFD for what is no whole character; None where there is no tokenizer.

        May be called from any thread.
        """
        ...
