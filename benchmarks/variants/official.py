"""The official SDK, `tinker`: the same sliding window, over its `SamplingClient`.

Telemetry is off, which is to its advantage. The server says in `client/config` that its faster transport (pyqwest) is
to be used, as the hosted one does.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from benchmarks.measure import Meter
from benchmarks.variants.base import Job
from benchmarks.variants.window import DRIVER, Window

os.environ["TINKER_TELEMETRY"] = "0"

import tinker

_KEY = "tml-benchmark"


class Client:
    """The official client."""

    def __init__(self, job: Job) -> None:
        self._job = job
        if job.spec.cafile is not None:
            os.environ["SSL_CERT_FILE"] = job.spec.cafile
        self._services = [tinker.ServiceClient(base_url=job.url, api_key=_KEY) for _ in range(job.spec.services)]
        self._samplers = [service.create_sampling_client(base_model="stub").result() for service in self._services]
        self._params = tinker.SamplingParams(max_tokens=job.workload.result_tokens)
        self._window = Window(job, self._submit, lambda future: future.future())

    def _submit(self, number: int) -> Any:
        prompts, samplers = self._job.prompts, self._samplers
        prompt = tinker.ModelInput.from_ints(prompts[number % len(prompts)])
        return samplers[number % len(samplers)].sample(prompt, self._job.workload.num_samples, self._params)

    def wave(self, samples: int, meter: Meter | None) -> int:
        """See `base.Client`."""
        return self._window.wave(samples, meter)

    def describe(self) -> dict[str, Any]:
        """See `base.Client`."""
        kind = type(self._samplers[0])
        return {
            "client": f"{kind.__module__}.{kind.__qualname__}",
            "version": tinker.__version__,
            "transport": "pyqwest" if "pyqwest" in sys.modules else "httpx",
            "driver": DRIVER,
        }

    def close(self) -> None:
        """See `base.Client`."""
        for service in self._services:
            service.close(status="success")
