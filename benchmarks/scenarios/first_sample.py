"""First sample: from the start of a process to its first result, 50 ms of which the server takes.

Interpreter, import, opening a session and a sampler, one sample; timed from outside, from starting the process to the
line that it prints when it has the result. Beside it an interpreter that only loads numpy.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import pictures, starts, tables
from benchmarks.cells import python_of, title
from benchmarks.measure import ROOT
from benchmarks.processes import RunFailedError, environment, placement, stub
from benchmarks.scenarios import Report, Say
from benchmarks.variants.probe import sample_program

_FIGURES = ("wall_ms", "cpu_ms", "peak_rss_mib")
_TOKENS = "512"
_LONGEST = 60.0


class Settings(starts.Settings, frozen=True, kw_only=True):
    """What is run.

    Attributes:
        hold_ms: how long the stub holds the sample, in milliseconds.
    """

    hold_ms: float = 50.0


SETTINGS = Settings()


def run(settings: Settings, say: Say) -> Report:
    """Run all rounds; see `starts.run`.

    Raises:
        RunFailedError: a process failed, or had no result of the right length.
    """
    server_cores, client_cores = placement(pin=settings.pin)
    with stub("--hold-ms", str(settings.hold_ms), where=server_cores) as url:
        return starts.run(
            settings, say, "first sample", lambda variant: _first(variant, url, client_cores, settings), _FIGURES
        )


def _first(variant: str, url: str, cores: list[int], settings: Settings) -> dict[str, float]:
    python = python_of(variant, settings) or sys.executable
    command = [python, "-c", sample_program(variant, cores, url)]
    quiet = {**environment(), "TINKER_TELEMETRY": "0"}
    started = time.perf_counter()
    try:
        child = subprocess.Popen(command, cwd=ROOT, env=quiet, stdout=subprocess.PIPE, text=True)
    except OSError as error:
        raise RunFailedError(f"first sample of {variant} by {python}: {error}") from error
    assert child.stdout is not None
    with child.stdout:
        said = child.stdout.readline().strip()
        wall = time.perf_counter() - started
        rest = child.stdout.read()
    child.wait(_LONGEST)
    if said != _TOKENS:
        raise RunFailedError(f"first sample of {variant} by {python}: {said!r}; it says why on standard error")
    inside: dict[str, float] = json.loads(rest)
    return {"wall_ms": 1000 * wall, **inside}


values = starts.ratios


def table(report: Report) -> str:
    """Return the summary as a table for people."""
    rows = [
        (
            title(name),
            *(tables.cell(known[it], 0) for it in _FIGURES),
            *(tables.cell(report["ratios"][name][it], 2) if name in report["ratios"] else "" for it in _FIGURES[:2]),
        )
        for name, known in report["summary"].items()
    ]
    head = ("first sample of", "wall ms", "CPU ms", "peak MiB", "ours / it, wall", "ours / it, CPU")
    return f"{tables.text(head, rows)}\nMedians (smallest..largest); ratios are taken within rounds."


def picture(report: Report, file: Path) -> None:
    """Draw the times."""
    names = list(report["summary"])
    pictures.bars(
        file,
        "From process start to the first sample, 50 ms of it simulated",
        "ms",
        [title(name) for name in names],
        {
            "wall": [report["summary"][name]["wall_ms"] for name in names],
            "CPU": [report["summary"][name]["cpu_ms"] for name in names],
        },
        log=False,
    )
