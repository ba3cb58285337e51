"""What a measured client is, and what it is given."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from benchmarks.measure import Meter
from benchmarks.workloads import WORKLOADS, answers, prompts


class Spec(msgspec.Struct, frozen=True):
    """One run of one client.

    Attributes:
        variant: the client, a module of `benchmarks.variants`.
        url: the stub server.
        workload: a name of `WORKLOADS`.
        in_flight: samples in flight at a time.
        samples: samples in the measured wave.
        warm_up: samples in the wave before it, which is not measured.
        cores: the processors to run on.
    """

    variant: str
    url: str
    workload: str
    in_flight: int
    samples: int
    warm_up: int
    cores: list[int]


class Job:
    """The samples to make, as plain Python values, and the judge of their results.

    Prompt `i` is `prompts[i]`; which one sample `n` uses is `n % len(prompts)`.
    """

    def __init__(self, spec: Spec) -> None:
        self.workload = WORKLOADS[spec.workload]
        self.url = spec.url
        self.in_flight = spec.in_flight
        self.prompts = prompts(self.workload)
        self._answers = answers(self.workload)

    def reads_tokens(self, number: int, tokens: list[list[int]]) -> bool:
        """Read every token of a result, as a caller does, and return whether they are the ones for this sample."""
        return tokens == self._answers[number % len(self._answers)].tokens

    def has_logprobs(self, number: int, logprobs: list[list[float]]) -> bool:
        """Return whether the logprobs of a result are the ones for this sample, to single precision."""
        expected = self._answers[number % len(self._answers)].logprobs
        pairs = zip(expected, logprobs, strict=True)
        return all(
            abs(mine - theirs) <= 1e-6 * abs(mine)
            for mine_all, theirs_all in pairs
            for mine, theirs in zip(mine_all, theirs_all, strict=True)
        )


class Client(Protocol):
    """A way to make samples. Made, used and closed in one process."""

    def __init__(self, job: Job) -> None:
        """Connect and create the sampler."""
        ...

    def wave(self, samples: int, meter: Meter | None) -> int:
        """Make this many samples, `job.in_flight` at a time, and return how many were right.

        With a meter: start and stop it around the wave, look midway, and read tokens only. Without one, in the
        warm-up, check logprobs too.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Return what carries the samples: class, transport, how it keeps its samples in flight."""
        ...

    def close(self) -> None:
        """End what is left."""
        ...
