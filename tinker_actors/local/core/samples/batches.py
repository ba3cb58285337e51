"""Batches: samples with the same weights, drawn together a token at a time; they join and leave between any two tokens.

Theory of operation. All samples of one set of weights form a batch. A batch is decoded in turns of a few tokens, and
the batches that are being drawn take turns, so that nobody's long completion keeps another from its first token. A turn
ends early when a sample is finished or cancelled, or when one that fits in has arrived. Decoding takes memory, so there
are only so many batches at once; when weights wait for a place, a batch that has become empty goes behind them.

Owners. The next turn is that of the owner who has had least so far, counted in tokens; who was away does not save up.
An owner of whom nothing is being drawn is let in at once, with one sample, whatever the others have filled.

Failures. When a turn fails, it is not known whose fault it is. Its samples are parted into two batches that nobody else
joins, and drawn again from their beginnings, which gives the same tokens; a sample that fails alone has failed.
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping

import msgspec

from tinker_actors.local.core.futures import Future
from tinker_actors.local.core.limits import Limits
from tinker_actors.local.core.ports import Decoding, Engine, SampleOutput, SampleTask
from tinker_actors.local.core.samples.footprint import Footprint, Room
from tinker_actors.local.core.samples.samplers import Weights, WeightsRef
from tinker_actors.local.core.samples.streams import TokenStream
from tinker_actors.types.wire import WireTensor

STEPS_PER_TURN = 16
"""Most tokens of a turn: few enough for a quick change, many enough to make the change itself cheap."""

TOKENS_PER_TURN = 2048
"""About how many tokens of all sequences together, so that a turn of many sequences does not take longer."""

LISTED_TOGETHER = 2**19
"""Most likeliest tokens that are listed for all samples being drawn with the same weights, a hundred bytes each; a
single sample may list more."""

PROMPT_TOKENS_PER_TURN = 8192
"""About how many tokens of prompts are run in a turn."""


_NOTHING = Footprint(0, 0, 0)


class Sample(msgspec.Struct, frozen=True, eq=False):
    """A sample request that was accepted.

    Attributes:
        future: where its result goes.
        task: what to draw.
        weights: from what.
        stream: where each token goes as it is drawn; None for a sample whose result is wanted as a whole.
        targets: the request's `target_prompt_logprobs`, for the layout of the answer.
        footprint: what it takes while it is drawn.
    """

    future: Future
    task: SampleTask
    weights: WeightsRef
    stream: TokenStream | None = None
    targets: WireTensor | None = None
    footprint: Footprint = _NOTHING

    @property
    def wanted(self) -> bool:
        """Whether the result is still to be had. May be asked on any thread."""
        return self.future.state == "pending"


class Drawn(msgspec.Struct, frozen=True, eq=False):
    """What a turn has brought.

    Attributes:
        finished: (key, what was drawn, or what is wrong with the task).
        tokens: (key, tokens, their log-probabilities), what is new of streamed samples that are not finished.
        error: what ended the turn before it brought anything, or None.
    """

    finished: list[tuple[int, SampleOutput | ValueError]]
    tokens: list[tuple[int, list[int], list[float]]]
    error: Exception | None = None


class Batch:
    """The samples of one set of weights. Its fields belong to the core's thread, but for `decoding`.

    Attributes:
        key: its name in the queue.
        weights: what is drawn from.
        waiting: samples that have not joined, in arrival order, by owner; no owner without samples.
        live: samples being drawn, by key.
        running: whether a turn is under way.
        decoding: the engine's part of it; touched by the turn under way only.
    """

    def __init__(self, key: int, weights: WeightsRef) -> None:
        self.key = key
        self.weights = weights
        self.waiting: dict[str, deque[Sample]] = {}
        self.live: dict[int, Sample] = {}
        self.running = False
        self.decoding: Decoding | None = None

    def put(self, sample: Sample) -> None:
        """Let a sample wait."""
        self.waiting[sample.future.owner] = line = self.waiting.get(sample.future.owner) or deque()
        line.append(sample)

    def take(self, owner: str) -> Sample:
        """Take the sample of an owner that has waited longest."""
        line = self.waiting[owner]
        sample = line.popleft()
        if not line:
            del self.waiting[owner]
        return sample

    @property
    def owners(self) -> set[str]:
        """Whose samples it has."""
        return {*self.waiting, *(sample.future.owner for sample in self.live.values())}

    def first_waiting(self) -> list[Sample]:
        """Return the first sample of each owner who waits. May be called on any thread."""
        # One step for the interpreter each: the core's thread may add an owner at this moment.
        return [line[0] for line in list(self.waiting.values()) if line]

    def fits(self, sample: Sample, most: int) -> bool:
        """Return whether a sample finds room among the live ones.

        One request takes up half of the room at most, however many completions it asks for, so that a large one neither
        waits for an empty batch nor keeps out everybody else.
        """
        live = list(self.live.values())
        if not any(one.future.owner == sample.future.owner for one in live):
            return True
        if sample.task.listed and sum(one.task.listed for one in live) + sample.task.listed > LISTED_TOGETHER:
            return False
        half = max(1, most // 2)
        taken = sum(min(one.task.num_samples, half) for one in live)
        return taken + min(sample.task.num_samples, half) <= most


class Turn:
    """Some tokens for one batch. Made and ended on the core's thread; `run` may be called on another one.

    Attributes:
        batch: whose turn it is.
        joining: samples that join, by key.
        leaving: keys of samples that nobody wants any more.

    Args:
        batch: see above.
        joining: see above.
        leaving: see above.
        most: most completions drawn together; None if nobody may join behind `joining`.
    """

    def __init__(self, batch: Batch, joining: Mapping[int, Sample], leaving: Collection[int], most: int | None) -> None:
        self.batch = batch
        self.joining = joining
        self.leaving = leaving
        self._most = most
        sequences = sum(sample.task.num_samples for sample in batch.live.values())
        self._steps = max(1, min(STEPS_PER_TURN, TOKENS_PER_TURN // sequences))
        self._streamed = {key: sample.stream for key, sample in batch.live.items() if sample.stream is not None}

    def run(self, engine: Engine, weights: Weights) -> Drawn:
        """Decode.

        Raises:
            ValueError: the weights are not to be had.
        """
        batch = self.batch
        if batch.decoding is None:
            batch.decoding = engine.decoding(weights.load(batch.weights))
        try:
            return self._draw(batch.decoding)
        except Exception as error:
            return Drawn([], [], error)

    def _draw(self, decoding: Decoding) -> Drawn:
        decoding.drop(self.leaving)
        finished: list[tuple[int, SampleOutput | ValueError]] = []
        if self.joining:
            finished += decoding.admit([(key, sample.task) for key, sample in self.joining.items()])
        for _ in range(1 if self._streamed else self._steps):
            finished += decoding.step()
            if finished or self._somebody_comes_or_goes():
                break
        done = {key for key, _ in finished}
        tokens = [
            (key, *decoding.drawn(key, stream.count)) for key, stream in self._streamed.items() if key not in done
        ]
        return Drawn(finished, tokens)

    def _somebody_comes_or_goes(self) -> bool:
        # The core's thread may append to what waits at this moment, but nobody takes from it during a turn.
        batch = self.batch
        if self._most is not None and any(batch.fits(sample, self._most) for sample in batch.first_waiting()):
            return True
        return not all(sample.wanted for sample in batch.live.values())


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
                batch.live[key] = joining[key] = sample
                tokens += len(sample.task.prompt)
                self._had[owner] += sample.task.num_samples
        return joining

    def _may_join(self, batch: Batch, sample: Sample, joining: Mapping[int, Sample], tokens: int) -> bool:
        if joining and tokens + len(sample.task.prompt) > PROMPT_TOKENS_PER_TURN:
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
