"""Import: how long loading the client takes and how much memory it leaves, beside the official SDK and numpy alone.

Each in a fresh interpreter, in rounds of alternating order, after one round that is not counted (it writes the byte
code and warms the disk's cache). The official SDK is measured without torch, which it would load if it were there.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import pictures, tables, targets
from benchmarks.cells import OURS, python_of, title
from benchmarks.measure import ROOT, spread
from benchmarks.processes import RunFailedError, _environment, placement
from benchmarks.scenarios import Common, Report, Say
from benchmarks.variants.probe import import_program

_FIGURES = ("wall_ms", "cpu_ms", "rss_mib", "modules")
_LONGEST = 60.0


class Settings(Common, frozen=True, kw_only=True):
    """What is run.

    Attributes:
        variants: what is imported: keys of `probe.IMPORTS`.
    """

    pairs: int = 9
    variants: tuple[str, ...] = ("ours", "official", "numpy", "nothing")


SETTINGS = Settings()


def run(settings: Settings, say: Say) -> Report:
    """Run all rounds and return settings, every run, and the summary.

    Raises:
        RunFailedError: an import failed, or the official SDK loaded torch.
    """
    found: list[dict[str, dict[str, Any]]] = []
    for index in range(settings.pairs + 1):
        names = settings.variants if index % 2 else settings.variants[::-1]
        found.append({name: _import(name, settings) for name in names})
        if index:
            costs = ", ".join(f"{name} {found[-1][name]['wall_ms']:.0f}" for name in settings.variants)
            say(f"import, round {index} of {settings.pairs}: ms: {costs}")
    counted = found[1:]
    return {
        "settings": msgspec.to_builtins(settings),
        "summary": {
            name: {it: spread(one[name][it] for one in counted) for it in _FIGURES} for name in settings.variants
        },
        "ratios": {
            name: {it: spread(one[OURS][it] / one[name][it] for one in counted) for it in ("wall_ms", "cpu_ms")}
            for name in settings.variants
            if name not in (OURS, "nothing")
        },
        "rounds": counted,
    }


def _import(variant: str, settings: Settings) -> dict[str, Any]:
    python = python_of(variant, settings) or sys.executable
    command = [python, "-c", import_program(variant, placement(pin=settings.pin)[1])]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=_environment(), capture_output=True, text=True, timeout=_LONGEST, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunFailedError(f"import of {variant} by {python}: {error}") from error
    if done.returncode:
        raise RunFailedError(f"import of {variant} by {python}:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout)
    if result["torch"]:
        raise RunFailedError(f"{python} has torch, which {variant} loads; give another one by --official-python")
    return result


def values(report: Report) -> dict[str, float]:
    """Return our time as a ratio to each other's, and our memory."""
    found = {f"time.{name}": ratio["wall_ms"]["median"] for name, ratio in report["ratios"].items()}
    return {**found, "ours.rss_mib": report["summary"][OURS]["rss_mib"]["median"]}


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


def missed(report: Report) -> list[str]:
    """Return a sentence for each target that was missed."""
    return targets.missed("import", values(report))
