"""Samplers: fixed weights under a name.

Weights are loaded by the first job that needs them and shared by all samplers of the same checkpoint. A checkpoint that
is replaced gets a new uid, so a sampler never changes its weights unseen.
"""

from __future__ import annotations

import weakref
from typing import Any

import msgspec

from tinker_actors.local.core.keeping import CheckpointMeta, Store
from tinker_actors.local.core.ports import Engine
from tinker_actors.local.core.requests.numbers import Numbers
from tinker_actors.local.core.samples.completions import Completions

_KEPT = 32  # weights of checkpoints in memory; older ones are read again when they are needed


class WeightsRef(msgspec.Struct, eq=False, weakref=True):
    """Weights that are or will be in memory.

    Attributes:
        base_model: the base model's name.
        checkpoint: where they come from; None for the base model itself and for weights never saved.
        value: the engine's weights, once loaded.
    """

    base_model: str
    checkpoint: CheckpointMeta | None = None
    value: Any = None


class Sampler(msgspec.Struct, eq=False):
    """A sampler.

    Attributes:
        sampler_id: its id.
        session_id: the session it belongs to.
        weights: what it samples from.
        numbers: the `seq_id`s used.
        clones: how many clones of its client have joined.
        completions: the samples that are over, by clone.
    """

    sampler_id: str
    session_id: str
    weights: WeightsRef
    numbers: Numbers = msgspec.field(default_factory=lambda: Numbers("seq_id"))
    clones: int = 0
    completions: dict[int, Completions] = msgspec.field(default_factory=dict)

    def completions_of(self, clone: int) -> Completions:
        """Return the completions of a clone of its client, 0 for the client itself."""
        found = self.completions.get(clone)
        if found is None:
            found = self.completions[clone] = Completions(f"{self.sampler_id}#{clone}")
        return found


class Weights:
    """Finds and loads weights.

    Args:
        engine: makes them.
        store: has them.
    """

    def __init__(self, engine: Engine, store: Store) -> None:
        self._engine = engine
        self._store = store
        self._bases: dict[str, WeightsRef] = {}
        self._recent: weakref.WeakKeyDictionary[WeightsRef, None] = weakref.WeakKeyDictionary()  # used last comes last
        self._checkpoints: weakref.WeakValueDictionary[str, WeightsRef] = weakref.WeakValueDictionary()

    def of_base(self, base_model: str) -> WeightsRef:
        """Return a base model's own weights."""
        return self._bases.setdefault(base_model, WeightsRef(base_model))

    def of_checkpoint(self, meta: CheckpointMeta) -> WeightsRef:
        """Return a checkpoint's weights."""
        ref = self._checkpoints.get(meta.uid)
        if ref is None:
            ref = self._checkpoints[meta.uid] = WeightsRef(meta.base_model, meta)
        return ref

    def ready(self, base_model: str, value: Any) -> WeightsRef:
        """Return weights that are in memory and nowhere else."""
        return WeightsRef(base_model, None, value)

    def load(self, ref: WeightsRef) -> Any:
        """Return the engine's weights, loading them if they are not in memory. For one worker thread.

        Raises:
            ValueError: the checkpoint is gone or was replaced.
        """
        value = ref.value
        if value is None:
            value = ref.value = self._loaded(ref)
        if ref.checkpoint is not None:
            self._recent.pop(ref, None)
            self._recent[ref] = None  # behind the others
            if len(self._recent) > _KEPT:
                oldest = next(iter(self._recent))
                del self._recent[oldest]
                oldest.value = None  # what is being drawn with them has them
        return value

    def _loaded(self, ref: WeightsRef) -> Any:
        meta = ref.checkpoint
        if meta is None:
            return self._engine.weights(ref.base_model, None, None)
        checkpoint = self._store.read(meta.path)
        if checkpoint.meta.uid != meta.uid:
            raise ValueError(f"{meta.path} was replaced after this sampler was created")
        return self._engine.weights(meta.base_model, meta.lora, checkpoint.adapter)
