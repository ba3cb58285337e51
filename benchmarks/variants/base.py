"""What a measured client is, and what it is given."""

from __future__ import annotations

import time
from array import array
from typing import Any, NamedTuple, Protocol

from benchmarks.measure import Meter
from benchmarks.workloads import WORKLOADS, answers, prompts


class Spec(NamedTuple):
    """One run of one client. What a measured process loads beside its client is the standard library's.

    Attributes:
        variant: the client, a module of `benchmarks.variants`.
        url: the stub server.
        workload: a name of `WORKLOADS`.
        in_flight: samples in flight at a time.
        samples: samples in the measured wave.
        warm_up: samples in the wave before it, which is not measured.
        cores: the processors to run on; all that there are if empty.
        cafile: the certificate authority of a server that speaks TLS.
        max_connections: connections that the client may have, where it takes such an option; else its default.
        services: service clients that share the samples, where the client has such a thing.
        callbacks: time each sample by a callback of its future instead of by the thread that waits for it.
    """

    variant: str
    url: str
    workload: str = "S"
    in_flight: int = 1
    samples: int = 1
    warm_up: int = 0
    cores: tuple[int, ...] = ()
    cafile: str | None = None
    max_connections: int | None = None
    services: int = 1
    callbacks: bool = False


class Job:
    """The samples to make, as plain Python values, and the judge of their results.

    Prompt `i` is `prompts[i]`; which one sample `n` uses is `n % len(prompts)`.

    Attributes:
        latencies: seconds from asking for a sample to having its result, in the measured wave. A client appends to it.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.workload = WORKLOADS[spec.workload]
        self.url = spec.url
        self.in_flight = spec.in_flight
        self.prompts = prompts(self.workload)
        self.latencies: array[float] = array("d")
        self._answers = answers(self.workload)
        self._sums = [[sum(tokens) for tokens in answer.tokens] for answer in self._answers]

    def reads_tokens(self, number: int, tokens: list[list[int]]) -> bool:
        """Read every token of a result, as a caller does, and return whether they add up to those for this sample.

        Added up, because what they would be compared with one by one is seldom in the processor's cache, and fetching
        it from memory would be charged to the client.
        """
        return [sum(each) for each in tokens] == self._sums[number % len(self._sums)]

    def is_right(self, number: int, tokens: list[list[int]], logprobs: list[list[float]]) -> bool:
        """Return whether each token of a result is the one for this sample, and each logprob to single precision."""
        expected = self._answers[number % len(self._answers)]
        pairs = zip(expected.logprobs, logprobs, strict=True)
        return tokens == expected.tokens and all(
            abs(mine - theirs) <= 1e-6 * abs(mine)
            for mine_all, theirs_all in pairs
            for mine, theirs in zip(mine_all, theirs_all, strict=True)
        )

    def note(self, started: float) -> None:
        """Append a sample's latency: it was asked for at `started`, by `time.perf_counter`, and is here now."""
        self.latencies.append(time.perf_counter() - started)


class Client(Protocol):
    """A way to make samples. Made, used and closed in one process."""

    def __init__(self, job: Job) -> None:
        """Connect and create the sampler."""
        ...

    def wave(self, samples: int, meter: Meter | None) -> int:
        """Make this many samples, `job.in_flight` at a time, and return how many were right.

        With a meter: start it at the beginning, look midway, note latencies, and read tokens only. Without one, in the
        warm-up, look at each token and logprob.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Return what carries the samples: `client`, `version`, `transport`, and how they are kept in flight."""
        ...

    def close(self) -> None:
        """End what is left."""
        ...
