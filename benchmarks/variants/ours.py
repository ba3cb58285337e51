"""tinker_actors: one loop submits through one `SamplingClient` and waits for the oldest future, a sliding window.

No thread per sample and no callback: the loop keeps a deque of futures, submits until it holds as many as may be
in flight, then takes the oldest one's result. All results take the same time here, so the oldest is the next one.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import tinker_actors as ta
from benchmarks.measure import Meter
from benchmarks.variants.base import Job

_GIVE_UP = 60.0


class Client:
    """Our client."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._service = ta.ServiceClient(base_url=job.url)
        self._sampler = self._service.create_sampling_client(base_model="stub")
        self._params = ta.SamplingParams(max_tokens=job.workload.result_tokens)

    def wave(self, samples: int, meter: Meter | None) -> int:
        """See `base.Client`."""
        job, window, right = self._job, deque[tuple[int, Any]](), 0
        prompts, num_samples = job.prompts, job.workload.num_samples
        if meter is not None:
            meter.start()
        for number in range(samples):
            if len(window) == job.in_flight:
                right += self._finish(*window.popleft(), strict=meter is None)
            prompt = ta.ModelInput.from_ints(prompts[number % len(prompts)])
            window.append((number, self._sampler.sample(prompt, num_samples, self._params)))
            if meter is not None and number == samples // 2:
                meter.midway()
        while window:
            right += self._finish(*window.popleft(), strict=meter is None)
        return right

    def _finish(self, number: int, future: Any, *, strict: bool) -> bool:
        sequences = future.result(timeout=_GIVE_UP).sequences
        right = self._job.reads_tokens(number, [sequence.tokens for sequence in sequences])
        if strict:
            right = right and self._job.has_logprobs(number, [sequence.logprobs for sequence in sequences])
        return right

    def describe(self) -> dict[str, Any]:
        """See `base.Client`."""
        kind = type(self._sampler)
        return {
            "client": f"{kind.__module__}.{kind.__qualname__}",
            "driver": "one thread, sliding window, waits for the oldest future",
            "actors": str(self._service.tree()),
        }

    def close(self) -> None:
        """See `base.Client`."""
        self._service.close()
