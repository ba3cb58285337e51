"""A batch: samples with the same weights that are drawn together, and a turn of it; see `batches`."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Mapping

import msgspec

from tinker_actors.local.core.futures import Future
from tinker_actors.local.core.ports import Decoding, Engine, SampleOutput, SampleTask
from tinker_actors.local.core.samples.footprint import Footprint
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

PROMPT_TOKENS_PER_TURN = 4096
"""About how many tokens of prompts are run in a turn."""

PROMPT_TOKENS_PER_TOKEN = 8
"""Tokens of a prompt that take about as long as drawing one."""

MOST_DEBT = 512
"""Tokens of prompts for which an owner keeps others waiting in one go, and one prompt."""


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
        debt: tokens of an owner's prompts that other owners' samples have waited for, and have not had time for since.
    """

    def __init__(self, key: int, weights: WeightsRef) -> None:
        self.key = key
        self.weights = weights
        self.waiting: dict[str, deque[Sample]] = {}
        self.live: dict[int, Sample] = {}
        self.running = False
        self.decoding: Decoding | None = None
        self.debt: Counter[str] = Counter()

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

    def has_others(self, owner: str) -> bool:
        """Return whether samples of other owners are being drawn."""
        return any(sample.future.owner != owner for sample in self.live.values())

    def note_prompt(self, sample: Sample) -> None:
        """Note that the prompt of a sample that joins is run."""
        owner = sample.future.owner
        if self.has_others(owner):
            self.debt[owner] += len(sample.task.prompt)

    def note_steps(self, steps: int) -> None:
        """Note that so many tokens were drawn for each sequence."""
        drawn = steps * sum(sample.task.num_samples for sample in self.live.values())
        self.debt -= Counter(dict.fromkeys(self.debt, drawn * PROMPT_TOKENS_PER_TOKEN))  # what is paid is left out

    def has_to_wait(self, sample: Sample) -> bool:
        """Return whether others are to be drawn first, because they waited for prompts of its owner's."""
        owner = sample.future.owner
        return self.debt[owner] > MOST_DEBT and self.has_others(owner)

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
        steps: how many tokens were drawn for each sequence.

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
        self.steps = 0
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
            self.steps += 1
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
        most, waiting = self._most, batch.first_waiting()
        if most is not None and any(batch.fits(one, most) and not batch.has_to_wait(one) for one in waiting):
            return True
        return not all(sample.wanted for sample in batch.live.values())
