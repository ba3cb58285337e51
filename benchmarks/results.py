"""Results: what is kept of the last run of each scenario, and the page that shows it.

Kept are its table, the figures that targets are about, and what was run when, where and on what. Every figure of every
round is ten times as much, changes with each run, and is for whoever asks for it (`--json`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import tables, targets
from benchmarks.scenarios import Report, load

_ABOUT = """# Results

Written by `python -m benchmarks --results` from what [summary.json](summary.json) keeps; [README.md](README.md) says
what is measured and how. A scenario that was run again replaced what was here of it.
"""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a run.

    Attributes:
        command: how it was started.
        machine: on what, see `measure.machine`.
        versions: of what, see `measure.versions`.
        seconds: how long it took.
        values: the figures that targets are about, by name.
        table: the scenario's table, by lines.
    """

    command: str
    machine: dict[str, Any]
    versions: dict[str, str | None]
    seconds: float
    values: dict[str, float]
    table: list[str]


Summary = dict[str, Kept]
"""What is kept, by scenario."""


def kept(name: str, report: Report, about: Mapping[str, Any]) -> Kept:
    """Return what is kept of a scenario's report.

    Args:
        name: the scenario's.
        report: what it gave.
        about: the fields of `Kept` that are not in the report.
    """
    scenario = load(name)
    # More digits than two runs have in common, and no more.
    values = {figure: float(f"{value:.6g}") for figure, value in scenario.values(report).items()}
    return Kept(**about, values=values, table=scenario.table(report).splitlines())


def read(file: Path) -> Summary:
    """Return the summary in a file; an empty one where there is no file."""
    return msgspec.json.decode(file.read_bytes(), type=Summary) if file.exists() else {}


def write(file: Path, summary: Summary) -> None:
    """Put a summary into a file."""
    file.write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=1) + b"\n")


def page(summary: Summary, pictures: bool) -> str:
    """Return the page in Markdown.

    Args:
        summary: what is kept.
        pictures: `SCENARIO.svg` is beside the page for each.
    """
    parts = [_ABOUT]
    rows = targets.table({name: run.values for name, run in summary.items()})
    if rows:
        parts.append(f"## Targets\n\n{_code(tables.text(('target', 'limit', 'measured', ''), rows))}")
    parts += [_section(name, run, pictures) for name, run in summary.items()]
    return "\n".join(parts)


def _section(name: str, run: Kept, pictures: bool) -> str:
    made, known = run.machine, run.versions
    about = (
        f"`{run.command}` at commit `{known['commit']}`, {made['time']}, {run.seconds:.0f} s. "
        f"{made['processor']}, {made['cores']} cores, Python {str(known['python']).split()[-1]}; load "
        f"{made['load_average'][0]:.1f} before it began."
    )
    missed = [f"- Missed: {sentence}" for sentence in targets.missed(name, run.values)]
    parts = [f"## {name}\n", f"{str(load(name).__doc__).splitlines()[0]}\n", f"{about}\n"]
    if pictures:
        parts.append(f"![{name}]({name}.svg)\n")
    parts.append(_code("\n".join(run.table)))
    return "\n".join([*parts, *missed, *([""] if missed else [])])


def _code(text: str) -> str:
    return f"```text\n{text}\n```\n"
