"""tinker_actors: a sliding window over one `SamplingClient`, or over one of each of several `ServiceClient`s."""

from __future__ import annotations

from typing import Any

import tinker_actors as ta
from benchmarks.measure import Meter
from benchmarks.variants.base import Job
from benchmarks.variants.window import DRIVER, Window


class Client:
    """Our client."""

    def __init__(self, job: Job) -> None:
        self._job = job
        options: dict[str, Any] = {"cafile": job.spec.cafile}
        if job.spec.max_connections is not None:
            options["max_connections"] = job.spec.max_connections
        config = ta.Config(**options)
        self._services = [ta.ServiceClient(base_url=job.url, config=config) for _ in range(job.spec.services)]
        self._samplers = [service.create_sampling_client(base_model="stub") for service in self._services]
        self._params = ta.SamplingParams(max_tokens=job.workload.result_tokens)
        self._window = Window(job, self._submit, lambda future: future)

    def _submit(self, number: int) -> Any:
        prompts, samplers = self._job.prompts, self._samplers
        prompt = ta.ModelInput.from_ints(prompts[number % len(prompts)])
        return samplers[number % len(samplers)].sample(prompt, self._job.workload.num_samples, self._params)

    def wave(self, samples: int, meter: Meter | None) -> int:
        """See `base.Client`."""
        return self._window.wave(samples, meter)

    def describe(self) -> dict[str, Any]:
        """See `base.Client`."""
        kind = type(self._samplers[0])
        tree = str(self._services[0].tree())
        return {
            "client": f"{kind.__module__}.{kind.__qualname__}",
            "version": ta.__version__,
            "transport": "HttpTransport" if "HttpTransport" in tree else "unknown",
            "driver": DRIVER,
            "actors": tree,
        }

    def close(self) -> None:
        """See `base.Client`."""
        for service in self._services:
            service.close()
