"""Training: configurations in, outputs and checkpoints out."""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec

from tinker_actors.errors import InvalidInputError
from tinker_actors.types.scalars import checked_flag, checked_int
from tinker_actors.types.spelling import SpelledMeta
from tinker_actors.types.tensors import TensorData

LossFnType = Literal[
    "cross_entropy", "importance_sampling", "ppo", "cispo", "dro", "gspo", "stable_reinforce", "custom", "ppo_critic",
    "dppo",
]  # fmt: skip
"""Loss functions that the wire knows (3.8); a server may lack some, and says so itself."""

LOSS_FN_TYPES: tuple[str, ...] = get_args(LossFnType)

LossFnOutput = dict[str, TensorData]
LossFnConfig = dict[str, Any]


class LoraConfig(msgspec.Struct, metaclass=SpelledMeta, eq=False):
    """Which adapter to train.

    Attributes:
        rank: rank of the low-rank update, at least 1.
        seed: seed of the adapter's initial values; None draws one.
        train_unembed: adapt the unembedding.
        train_mlp: adapt the feed-forward layers.
        train_attn: adapt the attention layers.

    Raises:
        InvalidInputError: a rank or seed that is no integer, a rank below 1, a flag that is none, or nothing to train.
    """

    rank: int = 32
    seed: int | None = None
    train_unembed: bool = True
    train_mlp: bool = True
    train_attn: bool = True

    def __post_init__(self) -> None:
        self.rank = checked_int(self.rank, "LoRA rank", least=1)
        self.seed = None if self.seed is None else checked_int(self.seed, "seed")
        self.train_unembed = checked_flag(self.train_unembed, "train_unembed")
        self.train_mlp = checked_flag(self.train_mlp, "train_mlp")
        self.train_attn = checked_flag(self.train_attn, "train_attn")
        if not (self.train_unembed or self.train_mlp or self.train_attn):
            raise InvalidInputError("At least one of train_mlp, train_attn and train_unembed must be true.")


class AdamParams(msgspec.Struct, metaclass=SpelledMeta, eq=False):
    """One step of AdamW (decoupled weight decay); the defaults are the wire protocol's.

    Attributes:
        learning_rate: step size.
        beta1: decay of the gradient's mean.
        beta2: decay of its uncentred variance.
        eps: added to the denominator.
        weight_decay: decoupled decay per step, times the learning rate.
        grad_clip_norm: largest global gradient norm; 0 does not clip.
    """

    learning_rate: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-12
    weight_decay: float = 0.0
    grad_clip_norm: float = 0.0


class ForwardBackwardOutput(msgspec.Struct, eq=False):
    """What a forward or forward-backward pass gives back.

    Attributes:
        loss_fn_output_type: the server's name for the kind of outputs.
        loss_fn_outputs: per datum, in the order given: tensors by name, at least `logprobs` in the shape of the
            datum's `target_tokens`.
        metrics: sums, means and the like by `name:reduction`, e.g. `loss:sum`, already merged over chunks.
    """

    loss_fn_output_type: str
    loss_fn_outputs: list[LossFnOutput]
    metrics: dict[str, float]


class OptimStepResponse(msgspec.Struct, eq=False):
    """What an optimizer step gives back.

    Attributes:
        metrics: numbers by name, or None when the server sends none.
    """

    metrics: dict[str, float] | None = None


class StepResult(msgspec.Struct, eq=False):
    """What a training step gives back: a gradient and the optimizer step behind it.

    Attributes:
        loss_per_token: `loss:sum` over `tokens`; None when the server sends no `loss:sum`, or nothing was trained on.
        metrics: those of the gradient and those of the optimizer; where both have a name, the optimizer's.
        tokens: target tokens trained on: those with a weight other than 0, all where there are no weights.
        seconds: from the call to the second of the two results.
        waits: where that time went, in seconds by wait reason, as `progress()` of the optimizer step would have told
            it: `"queued here"` is checking and encoding, `"waiting for its turn"` lasts until the server accepted the
            gradient, `"queued at the server"` is the computing of both. They add up to `seconds`.
    """

    loss_per_token: float | None
    metrics: dict[str, float]
    tokens: int
    seconds: float
    waits: dict[str, float]


class SaveWeightsResponse(msgspec.Struct, eq=False):
    """A training checkpoint was saved.

    Attributes:
        path: `tinker://<run>/weights/<name>`.
    """

    path: str


class LoadWeightsResponse(msgspec.Struct, eq=False):
    """A checkpoint was loaded.

    Attributes:
        path: where it came from, when the server says so.
    """

    path: str | None = None


class SaveWeightsForSamplerResponse(msgspec.Struct, eq=False):
    """Weights for sampling were saved.

    Attributes:
        path: `tinker://<run>/sampler_weights/<name>`; None for weights kept only as long as their sampler.
        sampling_session_id: the sampler made along with it, for weights without a path.
    """

    path: str | None = None
    sampling_session_id: str | None = None


class ModelData(msgspec.Struct, eq=False):
    """What a server says about a model.

    Attributes:
        arch: architecture name.
        model_name: name of the base model.
        tokenizer_id: name of its tokenizer.
    """

    arch: str | None = None
    model_name: str | None = None
    tokenizer_id: str | None = None


class GetInfoResponse(msgspec.Struct, eq=False):
    """A model's description.

    Attributes:
        model_id: the model's id on the server.
        model_data: base model, architecture, tokenizer.
        is_lora: whether an adapter is trained.
        lora_rank: its rank.
        model_name: name of the base model.
    """

    model_id: str
    model_data: ModelData = msgspec.field(default_factory=ModelData)
    is_lora: bool | None = None
    lora_rank: int | None = None
    model_name: str | None = None
