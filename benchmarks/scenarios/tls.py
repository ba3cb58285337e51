"""TLS: sampling and held memory over TLS 1.3, ours beside the official client.

The stub shows a certificate by an authority made for the run, which both clients are told to trust. It offers HTTP/1.1
only, so that a client that would use one HTTP/2 connection opens as many as it does in the clear.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import levels
from benchmarks.scenarios import Report, Say
from benchmarks.scenarios.held import held_cells


class Settings(levels.Settings, frozen=True, kw_only=True):
    """What is run, beside the samples that are soon answered.

    Attributes:
        held: samples held at the same time, for their memory.
    """

    variants: tuple[str, ...] = ("ours", "official")
    held: tuple[int, ...] = (2_000, 10_000)


SETTINGS = Settings()


def run(settings: Settings, say: Say) -> Report:
    """Run all levels; see `levels.run`. Those that are held have `held` in their names."""
    report = levels.run(settings, say, tls=True)
    report["levels"] += [
        levels.run_level(f"{n} held", held_cells(settings.variants, n, tls=True), settings, say, levels.MEMORY)
        for n in settings.held
    ]
    return report


values = levels.values
table = levels.table


def picture(report: Report, file: Path) -> None:
    """Draw the CPU cost of the levels that are not about memory."""
    plain = {**report, "levels": [one for one in report["levels"] if "held" not in one["name"]]}
    levels.picture(plain, file, "1,024-token prompts, 512-token results, over TLS 1.3")
