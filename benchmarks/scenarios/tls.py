"""TLS: sampling and held memory over TLS 1.3, ours beside the official client.

The stub shows a certificate by an authority made for the run, which both clients are told to trust. It offers HTTP/1.1
only, so that a client that would use one HTTP/2 connection opens as many as it does in the clear.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from benchmarks import levels, targets
from benchmarks.cells import Cell
from benchmarks.scenarios import Common, Report, Say
from benchmarks.scenarios.held import held_cells


class Settings(Common, frozen=True, kw_only=True):
    """What is run.

    Attributes:
        variants: who takes part.
        levels: samples in flight, held for `hold_ms`.
        samples: samples in each measured wave; default: by the level.
        hold_ms: how long the stub holds each future, in milliseconds.
        held: samples held at the same time, for their memory.
    """

    variants: tuple[str, ...] = ("ours", "official")
    levels: tuple[int, ...] = (1, 64, 400, 2_000)
    samples: int | None = None
    hold_ms: float = 50.0
    held: tuple[int, ...] = (2_000, 10_000)


SETTINGS = Settings()


def run(settings: Settings, say: Say) -> Report:
    """Run all levels; see `sampling.run`."""
    found = [levels.run_level(str(n), _cells(settings, n), settings, say) for n in settings.levels]
    found += [
        levels.run_level(f"{n} held", held_cells(settings.variants, n, tls=True), settings, say, levels.MEMORY)
        for n in settings.held
    ]
    return {"settings": msgspec.to_builtins(settings), "levels": found}


def _cells(settings: Settings, in_flight: int) -> list[Cell]:
    samples = settings.samples or levels.samples_for(in_flight)
    return [
        Cell(variant=variant, in_flight=in_flight, samples=samples, hold_ms=settings.hold_ms, tls=True)
        for variant in settings.variants
    ]


def values(report: Report) -> dict[str, float]:
    """See `levels.values`; the levels that are held have `held` in their names."""
    return levels.values(report)


def table(report: Report) -> str:
    """See `levels.table`."""
    return levels.table(report)


def picture(report: Report, file: Path) -> None:
    """Draw the CPU cost of the levels that are not about memory."""
    plain = {**report, "levels": [one for one in report["levels"] if "held" not in one["name"]]}
    levels.picture(plain, file, "1,024-token prompts, 512-token results, over TLS 1.3")


def missed(report: Report) -> list[str]:
    """Return a sentence for each target that was missed."""
    return targets.missed("tls", values(report))
