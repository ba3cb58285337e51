"""Ports: what the core needs of an engine and of a store, and the records that pass through them.

An engine computes, a store keeps; neither knows requests, futures or sessions. Both are called from jobs, that is from
worker threads, except where a docstring says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from tinker_actors.types.tensors import Array
from tinker_actors.types.training import AdamParams, LoraConfig

Arrays = dict[str, Array]
"""Name -> array, as they are kept on disk."""

Stop = str | tuple[int, ...]
"""What ends a completion that contains it: a text, or a run of token ids."""

ShouldStop = Callable[[int], bool]
"""Asked now and then, with a task's index, during a long computation: is its result not wanted any more?"""


class BaseModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A base model that an engine has.

    Attributes:
        name: its name on the wire.
        context_length: most tokens of prompt and completion together.
        vocab_size: token ids are below this.
        arch: name of the architecture.
        tokenizer_id: name of its tokenizer.
    """

    name: str
    context_length: int
    vocab_size: int
    arch: str
    tokenizer_id: str


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
        prompt: (N,) int64, at least one token and fewer than the context has room for, within the vocabulary.
        num_samples: completions to draw.
        max_tokens: most new tokens of each, at least 1; None for as many as the context allows.
        temperature: divides the logits; 0 is greedy.
        top_k: draw from this many likeliest tokens; None for all.
        top_p: draw from the smallest set with this much probability, in (0, 1].
        seed: same seed, same draw.
        stop: what ends a completion; None for the model's own end-of-sequence tokens, () for nothing.
        prompt_logprobs: whether to score the prompt.
        topk_prompt_logprobs: likeliest tokens to list per prompt position; 0 for none.
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


class Completion(msgspec.Struct, frozen=True, eq=False):
    """One drawn sequence: new tokens, their log-probabilities, and whether it ended by itself."""

    tokens: list[int]
    logprobs: list[float]
    stop_reason: Literal["stop", "length"]


class SampleOutput(msgspec.Struct, frozen=True, eq=False):
    """What a sample task gives.

    Attributes:
        completions: one per sample.
        prompt_logprobs: one entry per prompt token, the first None; None when not asked for.
        topk_prompt_logprobs: one entry per prompt token, the first None; None when not asked for.
    """

    completions: list[Completion]
    prompt_logprobs: list[float | None] | None = None
    topk_prompt_logprobs: list[list[tuple[int, float]] | None] | None = None


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
        """Return the weights as they are now, immutable, for `Engine.sample`."""
        ...

    def state(self) -> tuple[Arrays, Arrays]:
        """Return copies of the adapter and of the optimizer's state."""
        ...

    def load(self, adapter: Arrays, optimizer: Arrays | None) -> None:
        """Go to a saved state, with a fresh optimizer for None; accumulated gradients are forgotten."""
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

    def weights(self, base_model: str, config: LoraConfig | None, adapter: Arrays | None) -> Any:
        """Return weights for `sample`: the bare base model, or one with a saved adapter."""
        ...

    def sample(
        self, weights: Any, tasks: Sequence[SampleTask], should_stop: ShouldStop
    ) -> list[SampleOutput | ValueError | None]:
        """Draw completions for several tasks with the same weights.

        Each task's outcome stands for itself: None where `should_stop` said so, an error where the task is not valid.
        What a task draws does not depend on the others.
        """
        ...


class CheckpointMeta(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a checkpoint without reading its arrays.

    Attributes:
        path: its `tinker://` path.
        uid: changes when the checkpoint under a path is replaced.
        kind: what it was saved for.
        base_model: what was trained.
        lora: how.
        has_optimizer: whether the optimizer's state is part of it.
        ttl_seconds: how long its user wants it kept; None for ever.
        user_metadata: what its user said about it.
    """

    path: str
    uid: str
    kind: Literal["training", "sampler"]
    base_model: str
    lora: LoraConfig
    has_optimizer: bool
    ttl_seconds: int | None = None
    user_metadata: dict[str, Any] | None = None


class Checkpoint(msgspec.Struct, frozen=True, eq=False):
    """A checkpoint with its arrays; `optimizer` is empty where there is none."""

    meta: CheckpointMeta
    adapter: Arrays
    optimizer: Arrays


class CheckpointExistsError(ValueError):
    """There is a checkpoint under this path already."""


class CheckpointMissingError(ValueError):
    """There is no checkpoint under this path."""


class Store(Protocol):
    """Keeps checkpoints, and the ids of sessions. Usable from several threads at once."""

    def write(self, checkpoint: Checkpoint, *, overwrite: bool) -> None:
        """Keep a checkpoint; it is there whole, or not at all.

        Raises:
            CheckpointExistsError: the path is taken, and `overwrite` is false.
        """
        ...

    def find(self, path: str) -> CheckpointMeta | None:
        """Return what is known about a checkpoint. Quick enough for the core's own thread."""
        ...

    def read(self, path: str) -> Checkpoint:
        """Return a checkpoint.

        Raises:
            CheckpointMissingError: there is none.
        """
        ...

    def remember_session(self, session_id: str) -> None:
        """Note that a session exists. Called from the core's own thread."""
        ...

    def earlier_sessions(self) -> Sequence[str]:
        """Return the sessions noted before this store was opened."""
        ...
