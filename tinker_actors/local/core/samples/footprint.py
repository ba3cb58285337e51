"""Footprint: how much memory samples take while they are drawn, and whether there is room for one more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

import msgspec

from tinker_actors.local.core.futures import Future
from tinker_actors.local.core.ports import BaseModelInfo, SampleTask
from tinker_actors.local.core.quota import is_room
from tinker_actors.local.core.samples.samplers import WeightsRef

LISTED_BYTES = 100
"""Of a token that is listed with its log-probability."""


class Footprint(msgspec.Struct, frozen=True):
    """What a sample takes.

    Attributes:
        sequences: how many are drawn.
        tokens: of the longest, prompt and completion.
        listed: tokens that are listed with their log-probabilities.
        token_bytes: of a token of a sequence.
        sequence_bytes: of a sequence beside its tokens.
    """

    sequences: int
    tokens: int
    listed: int
    token_bytes: int = 0
    sequence_bytes: int = 0


def footprint(task: SampleTask, info: BaseModelInfo) -> Footprint:
    """Return what a sample takes of a base model's memory."""
    new = info.context_length - len(task.prompt) if task.max_tokens is None else task.max_tokens
    return Footprint(task.num_samples, len(task.prompt) + new, task.listed, info.token_bytes, info.sequence_bytes)


def memory_of(samples: Collection[Footprint]) -> int:
    """Return how many bytes samples take that are drawn together: each sequence has the length of the longest."""
    longest = max((one.tokens for one in samples), default=0)
    return sum(
        one.sequences * (longest * one.token_bytes + one.sequence_bytes) + one.listed * LISTED_BYTES for one in samples
    )


class Drawable(Protocol):
    """A sample, as far as it matters here."""

    @property
    def future(self) -> Future:
        """Says whose it is."""
        ...

    @property
    def footprint(self) -> Footprint:
        """What it takes."""
        ...

    @property
    def wanted(self) -> bool:
        """Whether its result is still to be had."""
        ...


class Drawing(Protocol):
    """Samples that are drawn together, by key, and from what."""

    weights: WeightsRef

    @property
    def live(self) -> Mapping[int, Drawable]:
        """The samples."""
        ...


class Room:
    """Memory for samples that are drawn. An owner gets as much of it as is still free.

    Who finds no room is let in before what comes later: before all else of his own, and before what others ask for if
    no more than half of the memory would be his. So those who ask for little don't keep out those who ask for much.

    Args:
        limit: bytes; None for as much as they take.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._waiting: dict[str, Drawable] = {}  # by owner, the one who has waited longest first

    @property
    def is_short(self) -> bool:
        """Whether there was no room for a sample that has not been let in since."""
        return bool(self._waiting)

    def is_for(self, sample: Drawable, batch: Drawing, others: Iterable[Drawing]) -> bool:
        """Return whether a sample may be drawn in a batch.

        Args:
            sample: that is to join.
            batch: which it joins.
            others: all other batches.
        """
        if self._limit is None:
            return True
        owner = sample.future.owner
        held, by_owner = _held((batch, *others))
        if not self._is_next(sample, by_owner):
            return False
        live = [one.footprint for one in batch.live.values()]
        weight = _memory(batch.weights, [*live, sample.footprint]) - _memory(batch.weights, live)
        if is_room(weight, by_owner[owner], held, self._limit):
            self._waiting.pop(owner, None)
            return True
        self._waiting.setdefault(owner, sample)
        return False

    def _is_next(self, sample: Drawable, by_owner: Counter[str]) -> bool:
        """Return whether nobody is to be let in before a sample."""
        assert self._limit is not None
        for owner, first in list(self._waiting.items()):
            if not first.wanted:
                del self._waiting[owner]
            elif owner == sample.future.owner:
                return first is sample
            elif by_owner[owner] + memory_of([first.footprint]) <= self._limit // 2:
                return False
        return True


def _held(batches: Iterable[Drawing]) -> tuple[int, Counter[str]]:
    """Return what is taken in all, and about what each owner takes."""
    held, by_owner = 0, Counter[str]()
    for batch in batches:
        live = list(batch.live.values())
        held += _memory(batch.weights, [one.footprint for one in live])
        for one in live:
            by_owner[one.future.owner] += memory_of([one.footprint])
    return held, by_owner


def _memory(weights: WeightsRef, samples: Collection[Footprint]) -> int:
    return memory_of(samples) + weights.weight if samples else 0
