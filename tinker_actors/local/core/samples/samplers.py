"""Samplers: fixed weights under a name.

Weights are loaded by the first job that needs them and shared by all samplers of the same checkpoint. A checkpoint that
is replaced gets a new uid, so a sampler never changes its weights unseen.

No client says that it needs a sampler no more, and a policy that is published with every step makes one each time. So
an owner's samplers used last are kept, and of those whose weights no checkpoint has as many as there is memory for.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from tinker_actors.local.core.keeping import CheckpointMeta, Store
from tinker_actors.local.core.limits import Limits
from tinker_actors.local.core.ports import Engine
from tinker_actors.local.core.quota import is_room
from tinker_actors.local.core.requests.numbers import Numbers
from tinker_actors.local.core.samples.completions import Completions
from tinker_actors.types.training import LoraConfig

_KEPT = 32  # weights of checkpoints in memory; older ones are read again when they are needed

GIVEN_UP = (
    "was given up for newer ones: this server keeps those that were used last. Weights that are to be sampled from for "
    "long are saved under a name."
)
"""What is said of a sampler that is not kept any more, behind its id."""


class WeightsRef(msgspec.Struct, eq=False, weakref=True):
    """Weights that are or will be in memory.

    Attributes:
        base_model: the base model's name.
        checkpoint: where they come from; None for the base model itself and for weights never saved.
        value: the engine's weights, once loaded.
        weight: bytes that they take in memory, beside the base model.
        given_up: whether they were in memory only, and are not there any more.
    """

    base_model: str
    checkpoint: CheckpointMeta | None = None
    value: Any = None
    weight: int = 0
    given_up: bool = False


class Sampler(msgspec.Struct, eq=False):
    """A sampler.

    Attributes:
        sampler_id: its id.
        session_id: the session it belongs to.
        owner: whose it is.
        weights: what it samples from.
        numbers: the `seq_id`s used.
        clones: how many clones of its client have joined.
        completions: the samples that are over, by clone.
    """

    sampler_id: str
    session_id: str
    owner: str
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

    @property
    def own_bytes(self) -> int:
        """Bytes of memory that are free again when there is no such sampler: its weights, if no checkpoint has them."""
        return 0 if self.weights.checkpoint is not None else self.weights.weight


class Samplers:
    """The samplers by id; of each owner the ones used last. For the core's own thread.

    Args:
        limits: how many are kept, and how much memory their own weights may take.
        is_busy: returns whether something is to be drawn with weights still.
    """

    def __init__(self, limits: Limits, is_busy: Callable[[WeightsRef], bool]) -> None:
        self._limits = limits
        self._is_busy = is_busy
        self._owners: dict[str, dict[str, Sampler]] = {}  # the one used last comes last
        self._owner_of: dict[str, str] = {}
        self._bytes: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._owner_of)

    @property
    def own_bytes(self) -> int:
        """Bytes of all weights that only samplers have."""
        return self._bytes.total()

    def get(self, sampler_id: str) -> Sampler | None:
        """Return a sampler, which is thereby used, or None."""
        owner = self._owner_of.get(sampler_id)
        if owner is None:
            return None
        mine = self._owners[owner]
        sampler = mine[sampler_id] = mine.pop(sampler_id)
        return sampler

    def add(self, sampler: Sampler) -> list[Sampler]:
        """Add a sampler, or put it in the place of an earlier one.

        Returns:
            The ones that its owner has too many with it. They are taken out: first those used longest ago with which
            nothing is to be drawn, then others.
        """
        self.remove(sampler.sampler_id)
        self._owners.setdefault(sampler.owner, {})[sampler.sampler_id] = sampler
        self._owner_of[sampler.sampler_id] = sampler.owner
        given_up: list[Sampler] = []
        while not self._fits(sampler) and (oldest := self._oldest(sampler)) is not None:
            self.remove(oldest.sampler_id)
            given_up.append(oldest)
        self._bytes[sampler.owner] += sampler.own_bytes
        return given_up

    def remove(self, sampler_id: str) -> None:
        """Take a sampler out, if it is there."""
        owner = self._owner_of.pop(sampler_id, None)
        if owner is not None:
            mine = self._owners[owner]
            self._bytes[owner] -= mine.pop(sampler_id).own_bytes
            if not mine:
                del self._owners[owner], self._bytes[owner]

    def of_session(self, session_id: str) -> list[Sampler]:
        """Return the samplers of a session."""
        return [one for mine in self._owners.values() for one in mine.values() if one.session_id == session_id]

    def _oldest(self, newest: Sampler) -> Sampler | None:
        """Return the sampler that is to go for the newest one."""
        crowded = self._is_crowded(newest.owner)
        others = [
            one for one in self._owners[newest.owner].values() if one is not newest and (crowded or one.own_bytes)
        ]
        return next((one for one in others if not self._is_busy(one.weights)), others[0] if others else None)

    def _is_crowded(self, owner: str) -> bool:
        return len(self._owners[owner]) > self._limits.samplers_per_owner

    def _fits(self, newest: Sampler) -> bool:
        """Return whether there is room for the newest sampler, whose bytes are not counted yet."""
        if self._is_crowded(newest.owner):
            return False
        mine, held, limit = self._bytes[newest.owner], self._bytes.total(), self._limits.sampler_bytes
        return limit is None or not newest.own_bytes or is_room(newest.own_bytes, mine, held, limit)


class Weights:
    """Finds and loads weights.

    Args:
        engine: makes them.
        store: has them.
        most: bytes of memory for those that are read from checkpoints; the ones used last are kept whatever their size.
    """

    def __init__(self, engine: Engine, store: Store, most: int | None = None) -> None:
        self._engine = engine
        self._store = store
        self._most = most
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

    def ready(self, base_model: str, lora: LoraConfig, value: Any) -> WeightsRef:
        """Return weights that are in memory and nowhere else."""
        return WeightsRef(base_model, None, value, self._engine.weights_bytes(base_model, lora))

    def give_up(self, ref: WeightsRef) -> None:
        """Let go of weights that are in memory and nowhere else; what is being drawn with them has them still."""
        if ref.checkpoint is None and ref.weight:
            ref.value, ref.given_up = None, True

    def load(self, ref: WeightsRef) -> Any:
        """Return the engine's weights, loading them if they are not in memory. For one worker thread.

        Raises:
            ValueError: the checkpoint is gone or was replaced, or the weights were given up.
        """
        value = ref.value
        if ref.given_up:
            raise ValueError("this sampler's weights were given up for newer ones")
        if value is None:
            value = ref.value = self._loaded(ref)
        if ref.checkpoint is not None:
            self._recent.pop(ref, None)
            self._recent[ref] = None  # behind the others
            while len(self._recent) > _KEPT or self._too_large():
                oldest = next(iter(self._recent))
                del self._recent[oldest]
                oldest.value = None  # what is being drawn with them has them
        return value

    def _too_large(self) -> bool:
        if self._most is None or len(self._recent) == 1:
            return False
        return sum(ref.weight for ref in self._recent) > self._most

    def _loaded(self, ref: WeightsRef) -> Any:
        meta = ref.checkpoint
        if meta is None:
            return self._engine.weights(ref.base_model, None, None)
        ref.weight = self._engine.weights_bytes(meta.base_model, meta.lora)
        checkpoint = self._store.read(meta.path)
        if checkpoint.meta.uid != meta.uid:
            raise ValueError(f"{meta.path} was replaced after this sampler was created")
        return self._engine.weights(meta.base_model, meta.lora, checkpoint.adapter)
