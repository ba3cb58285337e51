"""Sampling: client CPU seconds per 1,000 samples, one long poll per future, ours beside everyone.

Workload S: prompts of 1,024 tokens, results of 512 tokens with logprobs, the server holds each future for 50 ms. All
make the same two requests per sample. Latencies are those of the thread that waits for the oldest future.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import levels
from benchmarks.scenarios import Report, Say

SETTINGS = levels.Settings()


def run(settings: levels.Settings, say: Say) -> Report:
    """Run all levels; see `levels.run`."""
    return levels.run(settings, say)


values = levels.values
table = levels.table


def picture(report: Report, file: Path) -> None:
    """Draw the CPU cost."""
    levels.picture(report, file, "1,024-token prompts, 512-token results, one long poll per future")
