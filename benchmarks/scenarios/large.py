"""Large: workload L, prompts of 16,384 tokens and four samples of 2,048 tokens with logprobs for each.

What matters here is bytes, not requests: 100 kB of prompt and 64 kB of result per request in protobuf, twice that and
more in JSON.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from benchmarks import levels, targets
from benchmarks.cells import Cell
from benchmarks.scenarios import Common, Report, Say

_SAMPLES_PER_PLACE = 5


class Settings(Common, frozen=True, kw_only=True):
    """What is run.

    Attributes:
        variants: who takes part.
        levels: samples in flight.
        samples: samples in each measured wave; default: five for each in flight.
        hold_ms: how long the stub holds each future, in milliseconds.
    """

    variants: tuple[str, ...] = levels.EVERYONE
    levels: tuple[int, ...] = (16, 64)
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
    samples = settings.samples or _SAMPLES_PER_PLACE * in_flight
    return [
        Cell(variant=variant, in_flight=in_flight, samples=samples, workload="L", hold_ms=settings.hold_ms)
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
    levels.picture(report, file, "16,384-token prompts, four 2,048-token results each")


def missed(report: Report) -> list[str]:
    """Return a sentence for each target that was missed."""
    return targets.missed("large", values(report))
