"""Batches: samples with the same weights, drawn together a token at a time; they join and leave between any two tokens.

Theory of operation. All samples of one set of weights form a batch. A batch is decoded in turns of a few tokens, and
the batches that are being drawn take turns, so that nobody's long completion keeps another from its first token. A turn
ends early when a sample is finished or cancelled, or when one that fits in has arrived. Decoding takes memory, so there
are only so many batches at once; when weights wait for a place, a batch that has become empty goes behind them.

Owners. The next turn is that of the owner who has had least so far, counted in tokens; who was away does not save up.
An owner of whom nothing is being drawn is let in at once, with one sample, whatever the others have filled. Running a
prompt takes as long as drawing many tokens: an owner whose prompts others have waited for lets them draw as long.

Failures. When a turn fails, it is not known whose fault it is. Its samples are parted into two batches that nobody else
joins, and drawn again from their beginnings, which gives the same tokens; a sample that fails alone has failed.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from tinker_actors.local.core.limits import Limits
from tinker_actors.local.core.samples.batch import (
    PROMPT_TOKENS_PER_TURN,
    STEPS_PER_TURN,
    Batch,
    Sample,
    Turn,
)
from tinker_actors.local.core.samples.footprint import Room
from tinker_actors.local.core.samples.samplers import WeightsRef


class SampleQueue:
    """All samples that wait or are being drawn, by weights, and whose turn it is.

    Args:
        limits: how much is drawn at once.
    """

    def __init__(self, limits: Limits) -> None:
        self._most = limits.batched_sequences
        self._most_batches = limits.live_batches
        self._room = Room(limits.drawing_bytes)
        self._keys = itertools.count()
        self._waiting = 0
        # By identity of the weights, which the batches keep alive, or by a negative number for a batch that nobody else
        # joins. Insertion order is the order of turns.
        self._live: dict[int, Batch] = {}
        self._line: dict[int, Batch] = {}
        self._samples: Counter[str] = Counter()  # of each owner who has any here, waiting or being drawn
        self._had: dict[str, int] = {}  # tokens that each of them has had

    def __len__(self) -> int:
        """Return how many wait, those no longer wanted included."""
        return self._waiting

    @property
    def drawing(self) -> int:
        """How many are being drawn."""
        return sum(len(batch.live) for batch in self._live.values())

    def samples_of(self, weights: WeightsRef) -> list[Sample]:
        """Return the samples that are to be drawn from weights and are still wanted."""
        batches = [*self._live.values(), *self._line.values()]
        return [
            sample
            for batch in batches
            if batch.weights is weights
            for sample in (*itertools.chain(*batch.waiting.values()), *batch.live.values())
            if sample.wanted
        ]

    def is_busy(self, weights: WeightsRef) -> bool:
        """Return whether a sample is to be drawn from weights still."""
        return bool(self.samples_of(weights))

    def put(self, sample: Sample) -> None:
        """Add a sample."""
        key = id(sample.weights)
        batch = self._live.get(key) or self._line.get(key)
        if batch is None:
            batch = self._line[key] = Batch(key, sample.weights)
        self._add(batch, sample)

    def take_turn(self) -> Turn | None:
        """Return the next turn, to be run and then given to `end_turn`; None when there is nothing to draw."""
        without_room: dict[int, Batch] = {}
        try:
            while True:
                self._let_in()
                idle = [batch for batch in self._live.values() if not batch.running]
                if not idle:
                    return None
                batch = min(idle, key=self._least_had)
                del self._live[batch.key]
                turn = self._begin(batch)
                if turn is not None:
                    self._live[batch.key] = batch  # behind the others
                    return turn
                if batch.waiting:
                    without_room[batch.key] = batch
        finally:
            self._line.update(without_room)

    def end_turn(self, turn: Turn, finished: Collection[int] | None) -> list[Sample]:
        """Take a turn back.

        Args:
            turn: the turn.
            finished: keys of the samples that are finished; None if the turn failed, and with it all that is live.

        Returns:
            The finished samples.
        """
        batch = turn.batch
        batch.running = False
        batch.note_steps(turn.steps)
        over = [batch.live.pop(key) for key in (list(batch.live) if finished is None else finished)]
        self._note_gone(over)
        if not batch.live:
            self._retire(batch)
        return over

    def part(self, turn: Turn) -> list[Sample]:
        """Take back a turn that failed, for a reason that may be one sample's.

        Returns:
            The sample whose fault it is, if there was only one; the others are drawn again.
        """
        samples = self.end_turn(turn, None)
        if len(samples) == 1:
            return samples
        half = len(samples) // 2
        for group in (samples[:half], samples[half:]):
            batch = Batch(-1 - next(self._keys), turn.batch.weights)
            for sample in group:
                self._add(batch, sample)
            self._live[batch.key] = batch
        return []

    def _add(self, batch: Batch, sample: Sample) -> None:
        owner = sample.future.owner
        if owner not in self._had:  # who comes back begins where the others are
            self._had[owner] = min(self._had.values(), default=0)
        self._samples[owner] += 1
        batch.put(sample)
        self._waiting += 1

    def _note_gone(self, samples: Iterable[Sample]) -> None:
        for sample in samples:
            owner = sample.future.owner
            self._samples[owner] -= 1
            if not self._samples[owner]:
                del self._samples[owner], self._had[owner]

    def _least_had(self, batch: Batch) -> int:
        return min((self._had[owner] for owner in batch.owners), default=0)

    def _let_in(self) -> None:
        """Give places to weights that wait for one: while there are any, and to an owner who has none."""
        while self._line and len(self._live) < self._most_batches:
            self._admit(next(iter(self._line)))
        drawn = {owner for batch in self._live.values() for owner in batch.owners}
        if self._had.keys() <= drawn:
            return
        for key, batch in list(self._line.items()):
            if not batch.owners <= drawn:
                self._admit(key)
                drawn |= batch.owners

    def _admit(self, key: int) -> None:
        self._live[key] = self._line.pop(key)

    def _begin(self, batch: Batch) -> Turn | None:
        leaving = [key for key, sample in batch.live.items() if not sample.wanted]
        self._note_gone([batch.live.pop(key) for key in leaving])
        joining = self._join(batch)
        if not batch.live:
            batch.decoding = None
            return None
        batch.running = True
        for sample in batch.live.values():
            self._had[sample.future.owner] += sample.task.num_samples * STEPS_PER_TURN
        for sample in joining.values():
            self._had[sample.future.owner] += len(sample.task.prompt)
        closed = bool(self._line) or self._room.is_short
        return Turn(batch, joining, leaving, None if closed else self._most)

    def _join(self, batch: Batch) -> dict[int, Sample]:
        joining: dict[int, Sample] = {}
        tokens = 0
        while batch.waiting:
            # An owner after the other, the one who has had least first.
            for owner in sorted(batch.waiting, key=lambda owner: self._had[owner]):
                sample = batch.waiting[owner][0]
                if not sample.wanted or self._may_join(batch, sample, joining, tokens):
                    break
            else:
                break
            batch.take(owner)
            self._waiting -= 1
            if not sample.wanted:
                self._note_gone([sample])
            else:
                key = next(self._keys)
                batch.note_prompt(sample)
                batch.live[key] = joining[key] = sample
                tokens += len(sample.task.prompt)
                self._had[owner] += sample.task.num_samples
        return joining

    def _may_join(self, batch: Batch, sample: Sample, joining: Mapping[int, Sample], tokens: int) -> bool:
        if joining and tokens + len(sample.task.prompt) > PROMPT_TOKENS_PER_TURN:
            return False
        if batch.has_to_wait(sample):
            return False
        owners = {one.future.owner for one in batch.live.values()}
        # While other weights wait for a place, a batch takes nobody in: it is to become empty.
        may = sample.future.owner not in owners or (
            (not self._line or bool(joining)) and batch.fits(sample, self._most)
        )
        return may and self._room.is_for(sample, batch, self._live.values())

    def _retire(self, batch: Batch) -> None:
        """Give up an empty batch's place and memory; what waits in it goes behind the others that wait."""
        batch.decoding = None
        del self._live[batch.key]
        if batch.waiting:
            self._line[batch.key] = batch
