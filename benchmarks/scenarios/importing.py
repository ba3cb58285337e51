"""Import: how long loading the client takes and how much memory it leaves, beside the official SDK and numpy alone.

Each in a fresh interpreter, in rounds of alternating order, after one round that is not counted (it writes the byte
code and warms the disk's cache). The official SDK is measured without torch, which it would load if it were there.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from benchmarks import pictures, starts, tables
from benchmarks.cells import OURS, python_of, title
from benchmarks.processes import RunFailedError, placement, run_program
from benchmarks.scenarios import Report, Say
from benchmarks.variants.probe import import_program

_FIGURES = ("wall_ms", "cpu_ms", "rss_mib", "modules")
_LONGEST = 60.0


SETTINGS = starts.Settings(variants=(OURS, "official", "numpy", starts.NOTHING))


def run(settings: starts.Settings, say: Say) -> Report:
    """Run all rounds; see `starts.run`.

    Raises:
        RunFailedError: an import failed, or the official SDK loaded torch.
    """
    return starts.run(settings, say, "import", lambda variant: _import(variant, settings), _FIGURES)


def _import(variant: str, settings: starts.Settings) -> dict[str, Any]:
    python = python_of(variant, settings) or sys.executable
    command = [python, "-c", import_program(variant, placement(pin=settings.pin)[1])]
    result = run_program(command, patience=_LONGEST)
    if result["torch"]:
        raise RunFailedError(f"{python} has torch, which {variant} loads; give another one by --official-python")
    return result


def values(report: Report) -> dict[str, float]:
    """Return our time as a ratio to each other's, and our memory."""
    return {**starts.ratios(report), "ours.rss_mib": report["summary"][OURS]["rss_mib"]["median"]}


def table(report: Report) -> str:
    """Return the summary as a table for people."""
    rows = [
        (
            title(name),
            *(tables.cell(known[it], 0 if it == "modules" else 1) for it in _FIGURES),
            tables.cell(report["ratios"][name]["wall_ms"], 2) if name in report["ratios"] else "",
            tables.cell(report["ratios"][name]["cpu_ms"], 2) if name in report["ratios"] else "",
        )
        for name, known in report["summary"].items()
    ]
    head = ("import of", "wall ms", "CPU ms", "memory MiB", "modules", "ours / it, wall", "ours / it, CPU")
    return f"{tables.text(head, rows)}\nMedians (smallest..largest); ratios are taken within rounds."


def picture(report: Report, file: Path) -> None:
    """Draw time and memory."""
    names = list(report["summary"])
    pictures.bars(
        file,
        "Loading the client",
        "ms; MiB",
        [title(name) for name in names],
        {
            "import, ms": [report["summary"][name]["wall_ms"] for name in names],
            "resident memory after it, MiB": [report["summary"][name]["rss_mib"] for name in names],
        },
    )
