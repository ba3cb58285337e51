"""LoRA adapters: which matrices they touch, how they start, and how they lie in memory.

All matrices of an adapter lie in one flat vector: the optimizer, gradient sums and copies are then single operations
on it, and every matrix is a view. Modules that share an input have their A matrices next to each other, so that one
product computes them all.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np

from tinker_actors.local.engine.arrays import Floats, frozen
from tinker_actors.local.engine.config import ModelConfig
from tinker_actors.local.engine.weights import layer_prefix, named_generator

LORA_ALPHA = 32.0
"""Numerator of the scaling alpha / rank; the protocol has no field for it, 32 is what the service documents."""

HEAD = -1
"""The layer number under which the unembedding is filed."""


class LoraSpec(msgspec.Struct, frozen=True):
    """What an adapter trains.

    Attributes:
        rank: Inner dimension of every pair of matrices, at least 1.
        seed: Seed of the initial A matrices.
        train_attn: Adapt q, k, v and o projections.
        train_mlp: Adapt gate, up and down projections.
        train_unembed: Adapt the unembedding.

    Raises:
        ValueError: The rank is below 1, or nothing is to be trained.
    """

    rank: int = 32
    seed: int = 0
    train_attn: bool = True
    train_mlp: bool = True
    train_unembed: bool = True

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"LoRA rank must be at least 1, got {self.rank}")
        if not (self.train_attn or self.train_mlp or self.train_unembed):
            raise ValueError("one of train_attn, train_mlp and train_unembed must be true")


class Pair(msgspec.Struct, frozen=True, eq=False):
    """One module's share of a group.

    Attributes:
        columns: Its features in the group's output.
        ranks: Its rows in the group's A matrix.
        up: Its B matrix, [out, rank].
    """

    columns: slice
    ranks: slice
    up: Floats


class Group(msgspec.Struct, frozen=True, eq=False):
    """The LoRA matrices of modules that share one input; views of a flat vector.

    Attributes:
        down: Their A matrices on top of each other, [modules * rank, in].
        pairs: One entry per module.
        scaling: alpha / rank.
    """

    down: Floats
    pairs: tuple[Pair, ...]
    scaling: float


class _Module(msgspec.Struct, frozen=True):
    """One adapted matrix: its PEFT name without `base_model.model.`, and its sizes."""

    name: str
    fan_in: int
    fan_out: int


Groups = dict[tuple[int, str], Group]
"""(layer, "qkv" | "o" | "gate_up" | "down") or (HEAD, "unembed") -> the group's matrices."""


class Layout:
    """Where each matrix of an adapter lies in the flat vector. Immutable.

    Attributes:
        spec: What is trained.
        size: Length of the flat vector.

    Args:
        config: Shape of the base model.
        spec: What is trained.
    """

    def __init__(self, config: ModelConfig, spec: LoraSpec) -> None:
        self.spec = spec
        self._groups = _modules(config, spec)
        self.size = sum(spec.rank * (m.fan_in + m.fan_out) for group in self._groups.values() for m in group)

    def groups(self, flat: Floats) -> Groups:
        """View a flat vector (of parameters or of gradients) as matrices, by group."""
        rank, start, found = self.spec.rank, 0, Groups()
        for key, modules in self._groups.items():
            fan_in = modules[0].fan_in
            height = rank * len(modules)
            down = flat[start : start + height * fan_in].reshape(height, fan_in)
            start += height * fan_in
            pairs, column = [], 0
            for i, module in enumerate(modules):
                up = flat[start : start + module.fan_out * rank].reshape(module.fan_out, rank)
                start += up.size
                columns = slice(column, column + module.fan_out)
                pairs.append(Pair(columns, slice(i * rank, (i + 1) * rank), up))
                column += module.fan_out
            found[key] = Group(down, tuple(pairs), LORA_ALPHA / rank)
        return found

    def named(self, flat: Floats) -> dict[str, Floats]:
        """View a flat vector as matrices by their PEFT names, `base_model.model.<module>.lora_A.weight` and B."""
        views: dict[str, Floats] = {}
        groups = self.groups(flat)
        for key, modules in self._groups.items():
            for module, pair in zip(modules, groups[key].pairs, strict=True):
                views[f"base_model.model.{module.name}.lora_A.weight"] = groups[key].down[pair.ranks]
                views[f"base_model.model.{module.name}.lora_B.weight"] = pair.up
        return views

    def initial(self, dtype: np.dtype[Any]) -> Floats:
        """Draw the initial vector: A uniform within 1 / sqrt(fan_in), B zeros.

        The bound is PEFT's `kaiming_uniform_(a=sqrt(5))`. Each A depends on the seed and its module's name only, so
        the switches that choose modules do not change it.
        """
        flat = np.zeros(self.size, dtype)
        for name, matrix in self.named(flat).items():
            if name.endswith("lora_A.weight"):
                bound = 1.0 / math.sqrt(matrix.shape[1])
                matrix[...] = named_generator(self.spec.seed, name).uniform(-bound, bound, matrix.shape)
        return flat

    def fill(self, flat: Floats, arrays: dict[str, Floats]) -> None:
        """Copy matrices by PEFT name into a flat vector.

        Raises:
            ValueError: A matrix is missing, unknown or misshapen, or holds what is not finite; nothing has been written
                then.
        """
        views = self.named(flat)
        if missing := sorted(views.keys() - arrays.keys()):
            raise ValueError(f"adapter lacks {', '.join(missing)}")
        if unknown := sorted(arrays.keys() - views.keys()):
            raise ValueError(f"adapter has matrices that this model does not train: {', '.join(unknown)}")
        for name, view in views.items():
            if arrays[name].shape != view.shape:
                raise ValueError(f"{name} has shape {arrays[name].shape}, the model needs {view.shape}")
            if not np.isfinite(arrays[name]).all():
                raise ValueError(f"{name} holds numbers that are not finite")
        for name, view in views.items():
            view[...] = arrays[name]


class Adapter:
    """An immutable copy of an adapter's matrices, for sampling. Any number of threads may use one.

    Attributes:
        layout: Where the matrices lie.
        groups: The matrices, by group.

    Args:
        layout: Where the matrices lie.
        flat: The flat vector; copied.
    """

    def __init__(self, layout: Layout, flat: Floats) -> None:
        self.layout = layout
        self._flat = frozen(flat.copy())
        self.groups = layout.groups(self._flat)

    def arrays(self) -> dict[str, Floats]:
        """The matrices by PEFT name, read-only."""
        return self.layout.named(self._flat)

    @classmethod
    def from_arrays(cls, base_config: ModelConfig, spec: LoraSpec, arrays: dict[str, Floats]) -> Adapter:
        """Build an adapter from matrices by PEFT name, in the precision of the first.

        Raises:
            ValueError: A matrix is missing, unknown or misshapen, or holds what is not finite.
        """
        layout = Layout(base_config, spec)
        dtype = next(iter(arrays.values())).dtype if arrays else np.dtype(np.float32)
        flat = np.zeros(layout.size, dtype)
        layout.fill(flat, arrays)
        return cls(layout, flat)


def adapted_modules(spec: LoraSpec) -> list[str]:
    """The last parts of the names of all modules that an adapter touches, as PEFT lists them."""
    names = ["q_proj", "k_proj", "v_proj", "o_proj"] if spec.train_attn else []
    names += ["gate_proj", "up_proj", "down_proj"] if spec.train_mlp else []
    return [*names, "lm_head"] if spec.train_unembed else names


def _modules(config: ModelConfig, spec: LoraSpec) -> dict[tuple[int, str], list[_Module]]:
    width, inner = config.hidden_size, config.intermediate_size
    groups: dict[tuple[int, str], list[_Module]] = {}
    for layer in range(config.n_layers):
        attention, mlp = layer_prefix(layer) + "self_attn.", layer_prefix(layer) + "mlp."
        if spec.train_attn:
            groups[layer, "qkv"] = [
                _Module(attention + "q_proj", width, config.q_size),
                _Module(attention + "k_proj", width, config.kv_size),
                _Module(attention + "v_proj", width, config.kv_size),
            ]
            groups[layer, "o"] = [_Module(attention + "o_proj", config.q_size, width)]
        if spec.train_mlp:
            groups[layer, "gate_up"] = [
                _Module(mlp + "gate_proj", width, inner),
                _Module(mlp + "up_proj", width, inner),
            ]
            groups[layer, "down"] = [_Module(mlp + "down_proj", inner, width)]
    if spec.train_unembed:
        groups[HEAD, "unembed"] = [_Module("lm_head", width, config.vocab_size)]
    return groups
