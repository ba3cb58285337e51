"""Batches: samples with the same weights, drawn together a token at a time; they join and leave between any two tokens.

Theory of operation. All samples of one set of weights form a batch. A batch is decoded in turns of a few tokens, and
the batches that are being drawn take turns, so that nobody's long completion keeps another from its first token. A turn
ends early when a sample is finished or cancelled, or when one that fits in has arrived. Decoding takes memory, so there
are only so many batches at once; when weights wait for a place, a batch that has become empty goes behind them.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Collection, Mapping

import msgspec

from tinker_actors.local.core.futures import Future
from tinker_actors.local.core.limits import Limits
from tinker_actors.local.core.ports import Decoding, Engine, SampleOutput, SampleTask
from tinker_actors.local.core.samplers import Weights, WeightsRef
from tinker_actors.local.core.streams import TokenStream
from tinker_actors.types.wire import WireTensor

STEPS_PER_TURN = 16
"""Most tokens of a turn: few enough for a quick change, many enough to make the change itself cheap."""


class Sample(msgspec.Struct, frozen=True, eq=False):
    """A sample request that was accepted.

    Attributes:
        future: where its result goes.
        task: what to draw.
        weights: from what.
        stream: where each token goes as it is drawn; None for a sample whose result is wanted as a whole.
        targets: the request's `target_prompt_logprobs`, for the layout of the answer.
    """

    future: Future
    task: SampleTask
    weights: WeightsRef
    stream: TokenStream | None = None
    targets: WireTensor | None = None

    @property
    def wanted(self) -> bool:
        """Whether the result is still to be had. May be asked on any thread."""
        return self.future.state == "pending"


class Drawn(msgspec.Struct, frozen=True, eq=False):
    """What a turn has brought.

    Attributes:
        finished: (key, what was drawn, or what is wrong with the task).
        tokens: (key, tokens, their log-probabilities), what is new of streamed samples that are not finished.
    """

    finished: list[tuple[int, SampleOutput | ValueError]]
    tokens: list[tuple[int, list[int], list[float]]]


class Batch:
    """The samples of one set of weights. Its fields belong to the core's thread, but for `decoding`.

    Attributes:
        weights: what is drawn from.
        waiting: samples that have not joined, in arrival order.
        live: samples being drawn, by key.
        running: whether a turn is under way.
        decoding: the engine's part of it; touched by the turn under way only.
    """

    def __init__(self, weights: WeightsRef) -> None:
        self.weights = weights
        self.waiting: deque[Sample] = deque()
        self.live: dict[int, Sample] = {}
        self.running = False
        self.decoding: Decoding | None = None

    def fits(self, sample: Sample, most: int) -> bool:
        """Return whether a sample finds room among the live ones.

        One request takes up half of the room at most, however many completions it asks for, so that a large one neither
        waits for an empty batch nor keeps out everybody else.
        """
        if not self.live:
            return True
        half = max(1, most // 2)
        taken = sum(min(one.task.num_samples, half) for one in self.live.values())
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
        self._streamed = {key: sample.stream for key, sample in batch.live.items() if sample.stream is not None}

    def run(self, engine: Engine, weights: Weights) -> Drawn:
        """Decode.

        Raises:
            ValueError: the weights are not to be had, or of no use.
        """
        batch = self.batch
        if batch.decoding is None:
            batch.decoding = engine.decoding(weights.load(batch.weights))
        decoding = batch.decoding
        decoding.drop(self.leaving)
        finished: list[tuple[int, SampleOutput | ValueError]] = []
        if self.joining:
            finished += decoding.admit([(key, sample.task) for key, sample in self.joining.items()])
        for _ in range(1 if self._streamed else STEPS_PER_TURN):
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
        if self._most is not None and batch.waiting and batch.fits(batch.waiting[0], self._most):
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
        self._keys = itertools.count()
        self._waiting = 0
        # By identity of the weights, which the batches keep alive. Insertion order is the order of turns.
        self._live: dict[int, Batch] = {}
        self._line: dict[int, Batch] = {}

    def __len__(self) -> int:
        """Return how many wait, those no longer wanted included."""
        return self._waiting

    @property
    def drawing(self) -> int:
        """How many are being drawn."""
        return sum(len(batch.live) for batch in self._live.values())

    def put(self, sample: Sample) -> None:
        """Add a sample."""
        place = id(sample.weights)
        batch = self._live.get(place) or self._line.get(place)
        if batch is None:
            batch = self._line[place] = Batch(sample.weights)
        batch.waiting.append(sample)
        self._waiting += 1

    def take_turn(self) -> Turn | None:
        """Return the next turn, to be run and then given to `end_turn`; None when there is nothing to draw."""
        while True:
            while self._line and len(self._live) < self._most_batches:
                place = next(iter(self._line))
                self._live[place] = self._line.pop(place)
            batch = next((batch for batch in self._live.values() if not batch.running), None)
            if batch is None:
                return None
            del self._live[id(batch.weights)]
            turn = self._begin(batch)
            if turn is not None:
                self._live[id(batch.weights)] = batch  # behind the others
                return turn

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
        if not batch.live:
            self._retire(batch)
        return over

    def _begin(self, batch: Batch) -> Turn | None:
        leaving = [key for key, sample in batch.live.items() if not sample.wanted]
        for key in leaving:
            del batch.live[key]
        joining = self._join(batch)
        if not batch.live:
            batch.decoding = None
            return None
        batch.running = True
        return Turn(batch, joining, leaving, None if self._line else self._most)

    def _join(self, batch: Batch) -> dict[int, Sample]:
        joining: dict[int, Sample] = {}
        while batch.waiting:
            sample = batch.waiting[0]
            if sample.wanted:
                # While other weights wait for a place, a batch takes nobody in: it is to become empty.
                if batch.live and ((self._line and not joining) or not batch.fits(sample, self._most)):
                    break
                key = next(self._keys)
                batch.live[key] = joining[key] = sample
            batch.waiting.popleft()
            self._waiting -= 1
        return joining

    def _retire(self, batch: Batch) -> None:
        """Give up an empty batch's place and memory; what waits in it goes behind the others that wait."""
        batch.decoding = None
        del self._live[id(batch.weights)]
        if batch.waiting:
            self._line[id(batch.weights)] = batch
