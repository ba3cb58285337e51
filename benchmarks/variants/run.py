"""Runs one variant in this process: a warm-up wave, then the measured one; its last line of output is the result."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.measure import Meter, raise_file_limit, rss_mib
from benchmarks.processes import stub_stats
from benchmarks.variants.base import Client, Job, Spec


def run(spec: Spec) -> dict[str, Any]:
    """Return the figures of one run, with the stub server's counts over the whole of it."""
    if spec.cores:
        os.sched_setaffinity(0, spec.cores)
    raise_file_limit()
    job = Job(spec)
    rss_before = rss_mib()
    client: Client = importlib.import_module(f"benchmarks.variants.{spec.variant}").Client(job)
    warm = client.wave(spec.warm_up, None) if spec.warm_up else 0
    before = stub_stats(spec.url, spec.cafile)
    rss_warm = rss_mib()
    meter = Meter()
    right = client.wave(spec.samples, meter)
    figures: dict[str, Any] = meter.stop()
    after = stub_stats(spec.url, spec.cafile)
    described = client.describe()
    client.close()
    figures["cpu_per_1000"] = 1000 * (figures["user_seconds"] + figures["system_seconds"]) / spec.samples
    figures["samples_per_second"] = spec.samples / figures["wall_seconds"]
    figures["server_cpu_per_1000"] = 1000 * (after["cpu_seconds"] - before["cpu_seconds"]) / spec.samples
    figures["rss_before_mib"] = rss_before
    figures["rss_warm_mib"] = rss_warm
    figures["connections"] = after["most_connections"] - 1  # less the one that asks for these counts
    figures["held"] = after["most_held"]
    figures |= {f"p{part}_ms": 1000 * quantile(job.latencies, part / 100) for part in (50, 99)}
    figures["right"] = right + warm
    return {"figures": figures, "described": described, "server": after}


def quantile(values: Sequence[float], part: float) -> float:
    """Return the smallest value that at least this part of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def main() -> None:
    """Run the spec that is the only argument."""
    print(json.dumps(run(Spec(**json.loads(sys.argv[1])))))


if __name__ == "__main__":
    main()
