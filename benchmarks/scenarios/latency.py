"""Latency: from asking for a sample to its result, over the time that the server took, by the futures' callbacks.

A thread that waits for one future after the other counts into each what it did with those before. A callback tells
when the result was there, at a cost of its own; so these runs are not those that `sampling` counts CPU in. Clients
without futures note the time as soon as they have the answer, before they decode it.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import levels
from benchmarks.scenarios import Report, Say

_COLUMNS = ("p50_over_ms", "p99_over_ms", "samples_per_second", "cpu_per_1000")

SETTINGS = levels.Settings(variants=("ours", "official", "urllib3_threads", "raw_sockets"), levels=(1, 64))


def run(settings: levels.Settings, say: Say) -> Report:
    """Run all levels; see `levels.run`."""
    return levels.run(settings, say, _COLUMNS, callbacks=True)


values = levels.values
table = levels.table


def picture(report: Report, file: Path) -> None:
    """Draw the 99th percentile."""
    levels.picture(report, file, "Latency over the 50 ms that the server holds a sample", "p99_over_ms")
