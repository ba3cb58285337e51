"""Held: memory and threads while thousands of samples are pending, and threads with several service clients.

The stub holds each future for 5 s, and for 15 s at 10,000, which takes longer to ask for than 5 s; `held` is how many
polls it really held at the same time. Memory is the peak of the process; what each pending sample adds is counted from
the state after a warm-up of 16. At 10,000 our limit on connections is raised; the official client is left out there,
since it would be asking for a minute.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from benchmarks import levels
from benchmarks.cells import SMALLEST_WARM_UP, Cell
from benchmarks.scenarios import Common, Report, Say

MANY_CONNECTIONS = 12_000
_OFFICIAL_UP_TO = 2_000
_HOLD_MS, _LONG_HOLD_MS = 5_000.0, 15_000.0
_SERVICES = 3
_SERVICES_LEVEL = 2_000


class Settings(Common, frozen=True, kw_only=True):
    """What is run.

    Attributes:
        variants: who takes part; only ours above 2,000.
        levels: samples held at the same time.
        threads_at: samples in flight in the comparison with three service clients; 0 leaves it out.
    """

    variants: tuple[str, ...] = ("ours", "official")
    levels: tuple[int, ...] = (2_000, 10_000)
    threads_at: int = _SERVICES_LEVEL


SETTINGS = Settings()


def run(settings: Settings, say: Say) -> Report:
    """Run all levels; see `levels.run`."""
    found = [
        levels.run_level(str(n), held_cells(settings.variants, n), settings, say, levels.MEMORY)
        for n in settings.levels
    ]
    if settings.threads_at:
        cells = [
            Cell(variant=variant, in_flight=settings.threads_at, samples=2 * settings.threads_at, services=_SERVICES)
            for variant in settings.variants
        ]
        columns = ("threads", "connections", "peak_rss_mib", "cpu_per_1000")
        found.append(levels.run_level("threads", cells, settings, say, columns, services=_SERVICES))
    return {"settings": msgspec.to_builtins(settings), "levels": found}


def held_cells(variants: tuple[str, ...], in_flight: int, *, tls: bool = False) -> list[Cell]:
    """Return a cell for each variant that takes part at this level; all samples are asked for at once."""
    return [
        Cell(
            variant=variant,
            in_flight=in_flight,
            samples=in_flight,
            warm_up=SMALLEST_WARM_UP,
            hold_ms=_LONG_HOLD_MS if in_flight > _OFFICIAL_UP_TO else _HOLD_MS,
            tls=tls,
            max_connections=MANY_CONNECTIONS if in_flight > _OFFICIAL_UP_TO else None,
        )
        for variant in variants
        if variant != "official" or in_flight <= _OFFICIAL_UP_TO
    ]


values = levels.values
table = levels.table


def picture(report: Report, file: Path) -> None:
    """Draw the peak memory of the levels that are held."""
    held = {**report, "levels": [one for one in report["levels"] if one["name"] != "threads"]}
    levels.picture(held, file, "Memory with samples held by the server", "peak_rss_mib", "held", log=False)
