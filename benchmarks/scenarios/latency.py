"""Latency: from asking for a sample to its result, over the time that the server took, by the futures' callbacks.

A thread that waits for one future after the other counts into each what it did with those before. A callback tells
when the result was there, at a cost of its own; so these runs are not those that `sampling` counts CPU in. Clients
without futures note the time as soon as they have the answer, before they decode it.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from benchmarks import levels, targets
from benchmarks.cells import Cell
from benchmarks.scenarios import Common, Report, Say

_COLUMNS = ("p50_over_ms", "p99_over_ms", "samples_per_second", "cpu_per_1000")


class Settings(Common, frozen=True, kw_only=True):
    """What is run.

    Attributes:
        variants: who takes part.
        levels: samples in flight.
        samples: samples in each measured wave; default: by the level.
        hold_ms: how long the stub holds each future, in milliseconds.
    """

    variants: tuple[str, ...] = ("ours", "official", "urllib3_threads", "raw_sockets")
    levels: tuple[int, ...] = (1, 64)
    samples: int | None = None
    hold_ms: float = 50.0


SETTINGS = Settings()


def run(settings: Settings, say: Say) -> Report:
    """Run all levels; see `sampling.run`."""
    return {
        "settings": msgspec.to_builtins(settings),
        "levels": [levels.run_level(str(n), _cells(settings, n), settings, say, _COLUMNS) for n in settings.levels],
    }


def _cells(settings: Settings, in_flight: int) -> list[Cell]:
    samples = settings.samples or levels.samples_for(in_flight)
    return [
        Cell(variant=variant, in_flight=in_flight, samples=samples, hold_ms=settings.hold_ms, callbacks=True)
        for variant in settings.variants
    ]


def values(report: Report) -> dict[str, float]:
    """See `levels.values`."""
    return levels.values(report)


def table(report: Report) -> str:
    """See `levels.table`."""
    return levels.table(report)


def picture(report: Report, file: Path) -> None:
    """Draw the 99th percentile."""
    levels.picture(report, file, "Latency over the 50 ms that the server holds a sample", "p99_over_ms")


def missed(report: Report) -> list[str]:
    """Return a sentence for each target that was missed."""
    return targets.missed("latency", values(report))
