"""Large: workload L, prompts of 16,384 tokens and four samples of 2,048 tokens with logprobs for each.

What matters here is bytes, not requests: 100 kB of prompt and 64 kB of result per request in protobuf, twice that and
more in JSON.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import levels
from benchmarks.scenarios import Report, Say

_SAMPLES_PER_PLACE = 5

SETTINGS = levels.Settings(levels=(16, 64))


def run(settings: levels.Settings, say: Say) -> Report:
    """Run all levels; see `levels.run`."""
    return levels.run(settings, say, samples_for=lambda in_flight: _SAMPLES_PER_PLACE * in_flight, workload="L")


values = levels.values
table = levels.table


def picture(report: Report, file: Path) -> None:
    """Draw the CPU cost."""
    levels.picture(report, file, "16,384-token prompts, four 2,048-token results each")
