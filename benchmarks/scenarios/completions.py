"""Completions: as `sampling`, where the server tells of finished samples by `retrieve_futures`.

One held request for all samples instead of one for each; each result is still fetched by a request of its own. The
scenario refuses a run in which a client did not ask for completions.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from benchmarks import levels, targets
from benchmarks.cells import Cell
from benchmarks.scenarios import Common, Report, Say


class Settings(Common, frozen=True, kw_only=True):
    """What is run.

    Attributes:
        variants: who takes part.
        levels: samples in flight.
        samples: samples in each measured wave; default: by the level.
        hold_ms: how long the stub holds each future, in milliseconds.
    """

    variants: tuple[str, ...] = ("ours", "official")
    levels: tuple[int, ...] = (1, 64, 400, 2_000)
    samples: int | None = None
    hold_ms: float = 50.0


SETTINGS = Settings()


def run(settings: Settings, say: Say) -> Report:
    """Run all levels; see `sampling.run`."""
    return {
        "settings": msgspec.to_builtins(settings),
        "levels": [levels.run_level(str(n), _cells(settings, n), settings, say) for n in settings.levels],
    }


def _cells(settings: Settings, in_flight: int) -> list[Cell]:
    samples = settings.samples or levels.samples_for(in_flight)
    return [
        Cell(variant=variant, in_flight=in_flight, samples=samples, hold_ms=settings.hold_ms, completions=True)
        for variant in settings.variants
    ]


def values(report: Report) -> dict[str, float]:
    """See `levels.values`."""
    return levels.values(report)


def table(report: Report) -> str:
    """See `levels.table`."""
    return levels.table(report)


def picture(report: Report, file: Path) -> None:
    """Draw the CPU cost."""
    levels.picture(report, file, "1,024-token prompts, 512-token results, completions by retrieve_futures")


def missed(report: Report) -> list[str]:
    """Return a sentence for each target that was missed."""
    return targets.missed("completions", values(report))
