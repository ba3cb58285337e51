"""Completions: as `sampling`, where the server tells of finished samples by `retrieve_futures`.

One held request for all samples instead of one for each; each result is still fetched by a request of its own. The
scenario refuses a run in which a client did not ask for completions.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import levels
from benchmarks.scenarios import Report, Say

SETTINGS = levels.Settings(variants=("ours", "official"))


def run(settings: levels.Settings, say: Say) -> Report:
    """Run all levels; see `levels.run`."""
    return levels.run(settings, say, completions=True)


values = levels.values
table = levels.table


def picture(report: Report, file: Path) -> None:
    """Draw the CPU cost."""
    levels.picture(report, file, "1,024-token prompts, 512-token results, completions by retrieve_futures")
