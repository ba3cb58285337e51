"""Levels: what scenarios of sampling have in common: how they are run, their tables, values and pictures.

A level is one load; its report has a `name`, the `summary` of all variants, and every run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import pictures, tables
from benchmarks.cells import OURS, Cell, level, rounds, title
from benchmarks.scenarios import Common, Report, Say

EVERYONE = ("ours", "official", "urllib3_threads", "raw_sockets", "raw_bytes")

_COLUMNS = {
    "cpu_per_1000": ("CPU s / 1,000", 3),
    "samples_per_second": ("samples/s", 0),
    "p50_over_ms": ("p50 over ms", 1),
    "p99_over_ms": ("p99 over ms", 1),
    "peak_rss_mib": ("peak MiB", 0),
    "pending_kib": ("KiB / pending", 1),
    "threads": ("threads", 0),
    "connections": ("connections", 0),
    "held": ("held", 0),
    "requests_per_sample": ("requests", 2),
    "server_cpu_per_1000": ("server CPU s", 3),
}
COST = (
    "cpu_per_1000", "samples_per_second", "p50_over_ms", "p99_over_ms", "peak_rss_mib", "threads", "connections",
    "requests_per_sample", "server_cpu_per_1000",
)  # fmt: skip
MEMORY = (
    "peak_rss_mib", "pending_kib", "threads", "connections", "held", "requests_per_sample", "cpu_per_1000",
)  # fmt: skip
_LABELS = {
    "cpu_per_1000": "client CPU s per 1,000 samples",
    "p99_over_ms": "p99 over the simulated latency, ms",
    "peak_rss_mib": "peak memory of the client, MiB",
}


class Settings(Common, frozen=True, kw_only=True):
    """What is run.

    Attributes:
        variants: who takes part.
        levels: samples in flight, one comparison each.
        samples: samples in each measured wave; default: by the level.
        hold_ms: how long the stub holds each future, in milliseconds.
    """

    variants: tuple[str, ...] = EVERYONE
    levels: tuple[int, ...] = (1, 64, 400, 2_000)
    samples: int | None = None
    hold_ms: float = 50.0


def samples_for(in_flight: int) -> int:
    """Return how many samples a measured wave has: enough for a second or more of work, and twice the window."""
    for most, samples in ((1, 100), (16, 800), (400, 2_000)):
        if in_flight <= most:
            return samples
    return 2 * in_flight


def run(
    settings: Settings,
    say: Say,
    columns: Sequence[str] = COST,
    samples_for: Callable[[int], int] = samples_for,
    **of: Any,
) -> Report:
    """Run all levels and return settings, every run, and the summary of each level.

    Args:
        settings: what is run.
        say: where progress is told.
        columns: what the table shows.
        samples_for: how many samples a wave at a level has when the settings don't say.
        of: fields of `Cell` that make the scenario.

    Raises:
        RunFailedError: a process failed, a sample was wrong, or a variant was not what it should be.
    """
    found = []
    for n in settings.levels:
        samples = settings.samples or samples_for(n)
        cells = [
            Cell(variant=variant, in_flight=n, samples=samples, hold_ms=settings.hold_ms, **of)
            for variant in settings.variants
        ]
        found.append(run_level(str(n), cells, settings, say, columns))
    return {"settings": msgspec.to_builtins(settings), "levels": found}


def run_level(
    name: str, cells: Sequence[Cell], settings: Common, say: Say, columns: Sequence[str] = COST, **about: Any
) -> dict[str, Any]:
    """Run a level's rounds and return its report.

    Raises:
        RunFailedError: a run was not valid.
    """
    found = rounds({cell.variant: cell for cell in cells}, settings, say, name)
    in_flight = cells[0].in_flight
    return level(found, name=name, in_flight=in_flight, samples=cells[0].samples, columns=list(columns), **about)


def table(report: Report) -> str:
    """Return the levels as tables, those with the same columns together, a row for each variant.

    The last column is ours / variant in CPU.
    """
    parts: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for one in report["levels"]:
        rows = parts.setdefault(tuple(one["columns"]), [])
        for variant, figures in one["summary"]["variants"].items():
            cells = [tables.cell(figures[name], _COLUMNS[name][1]) for name in one["columns"]]
            ratio = one["summary"]["ratios"].get(variant)
            rows.append((one["name"], title(variant), *cells, "" if ratio is None else tables.cell(ratio, 3)))
    shown = [
        tables.text(("load", "client", *(_COLUMNS[name][0] for name in columns), "ours / it"), rows)
        for columns, rows in parts.items()
    ]
    return "\n\n".join([*shown, tables.NOTE])


def values(report: Report) -> dict[str, float]:
    """Return the medians that targets are about.

    `<level>.<figure>` is ours; `<level>.cpu.<variant>` and `<level>.speed.<variant>` are ours / that variant.
    """
    found: dict[str, float] = {}
    for one in report["levels"]:
        name, summary = one["name"], one["summary"]
        found |= {f"{name}.cpu.{other}": ratio["median"] for other, ratio in summary["ratios"].items()}
        found |= {f"{name}.speed.{other}": ratio["median"] for other, ratio in summary["speed_ratios"].items()}
        ours: Mapping[str, Any] = summary["variants"].get(OURS, {})
        found |= {f"{name}.{figure}": known["median"] for figure, known in ours.items()}
    return found


def picture(
    report: Report, file: Path, heading: str, figure: str = "cpu_per_1000", unit: str = "in flight", *, log: bool = True
) -> None:
    """Draw one figure as bars, a group for each level. A variant that a level lacks leaves a gap there."""
    levels = report["levels"]
    names = list(dict.fromkeys(name for one in levels for name in one["summary"]["variants"]))
    nothing = {"median": 0.0, "min": 0.0, "max": 0.0}
    series = {
        title(name): [one["summary"]["variants"].get(name, {}).get(figure, nothing) for one in levels] for name in names
    }
    pictures.bars(file, heading, _LABELS[figure], [f"{one['name']} {unit}" for one in levels], series, log=log)
