"""Growth: what a sample of ours costs as more of them are in flight, from 1 to 10,000.

CPU per sample is that of `sampling`. Memory per pending sample is measured in runs of their own, as in `held`: the peak
with all of them held, less what the process had after a warm-up of 16, divided by their number.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from benchmarks import levels, pictures, tables
from benchmarks.cells import OURS, Cell
from benchmarks.scenarios import Common, Report, Say
from benchmarks.scenarios.held import MANY_CONNECTIONS, held_cells

_DEFAULT_CONNECTIONS_UP_TO = 2_000


class Settings(Common, frozen=True, kw_only=True):
    """What is run.

    Attributes:
        levels: samples in flight.
        base: the level beside which growth is judged, at all above it; memory is measured from there up.
        hold_ms: how long the stub holds each future where CPU is measured, in milliseconds.
    """

    levels: tuple[int, ...] = (1, 16, 64, 400, 2_000, 10_000)
    base: int = 400
    hold_ms: float = 50.0


SETTINGS = Settings()


def run(settings: Settings, say: Say) -> Report:
    """Run all levels; see `levels.run`."""
    found = [levels.run_level(str(n), [_cell(n, settings.hold_ms)], settings, say) for n in settings.levels]
    found += [
        levels.run_level(f"{n} held", held_cells((OURS,), n), settings, say, levels.MEMORY)
        for n in settings.levels
        if n >= settings.base
    ]
    return {"settings": msgspec.to_builtins(settings), "levels": found}


def _cell(in_flight: int, hold_ms: float) -> Cell:
    return Cell(
        variant=OURS,
        in_flight=in_flight,
        samples=levels.samples_for(in_flight),
        hold_ms=hold_ms,
        max_connections=MANY_CONNECTIONS if in_flight > _DEFAULT_CONNECTIONS_UP_TO else None,
    )


def _ours(report: Report, name: str) -> dict[str, Any]:
    known: dict[str, Any] = next(one for one in report["levels"] if one["name"] == name)["summary"]["variants"][OURS]
    return known


def values(report: Report) -> dict[str, float]:
    """Return CPU and memory of each level above the base, as ratios to those at the base."""
    base, found = report["settings"]["base"], levels.values(report)
    for n in report["settings"]["levels"]:
        if n > base:
            for name, level, figure in (("cpu", "{}", "cpu_per_1000"), ("memory", "{} held", "pending_kib")):
                here, there = _ours(report, level.format(n))[figure], _ours(report, level.format(base))[figure]
                found[f"{n}.{name}_growth"] = here["median"] / there["median"]
    return found


def table(report: Report) -> str:
    """Return the levels, and how much larger the cost is above the base."""
    grown = {name: value for name, value in values(report).items() if name.endswith("_growth")}
    rows = [(name.replace(".", ": ").replace("_", " "), f"{value:.2f}") for name, value in grown.items()]
    head = (f"beside {report['settings']['base']} in flight", "times")
    return f"{levels.table(report)}\n\n{tables.text(head, rows)}"


def picture(report: Report, file: Path) -> None:
    """Draw CPU per sample and memory per pending sample over the number in flight."""
    settings = report["settings"]
    held = [n for n in settings["levels"] if n >= settings["base"]]
    pictures.lines(
        file,
        "What a sample of ours costs",
        "ms of CPU per sample; KiB per pending sample",
        "samples in flight",
        {
            "CPU, ms per sample": (
                settings["levels"],
                [_ours(report, f"{n}")["cpu_per_1000"] for n in settings["levels"]],
            ),
            "memory, KiB per pending sample": (held, [_ours(report, f"{n} held")["pending_kib"] for n in held]),
        },
    )
