"""Runs one variant in this process: a warm-up wave, then the measured one; its last line of output is the result."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import msgspec

from benchmarks.measure import Meter
from benchmarks.processes import stub_stats
from benchmarks.variants.base import Client, Job, Spec


def run(spec: Spec) -> dict[str, Any]:
    """Return the figures of one run, with the stub server's counts over the whole of it."""
    os.sched_setaffinity(0, spec.cores)
    job = Job(spec)
    client: Client = importlib.import_module(f"benchmarks.variants.{spec.variant}").Client(job)
    warm = client.wave(spec.warm_up, None)
    before = stub_stats(spec.url)
    meter = Meter()
    right = client.wave(spec.samples, meter)
    figures: dict[str, Any] = meter.stop()
    after = stub_stats(spec.url)
    described = client.describe()
    client.close()
    figures["cpu_per_1000"] = 1000 * (figures["user_seconds"] + figures["system_seconds"]) / spec.samples
    figures["samples_per_second"] = spec.samples / figures["wall_seconds"]
    figures["server_cpu_per_1000"] = 1000 * (after["cpu_seconds"] - before["cpu_seconds"]) / spec.samples
    figures["right"] = right + warm
    return {"figures": figures, "described": described, "server": after}


def main() -> None:
    """Run the spec that is the only argument."""
    spec = msgspec.json.decode(sys.argv[1], type=Spec)
    print(msgspec.json.encode(run(spec)).decode())


if __name__ == "__main__":
    main()
