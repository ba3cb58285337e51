"""Results: the page that shows everything that was kept of the last run of each scenario."""

from __future__ import annotations

from typing import Any

from benchmarks import tables, targets
from benchmarks.scenarios import load

_ABOUT = """# Results

Written by `python -m benchmarks --results`; [README.md](README.md) says what is measured and how, `figures.json` has
every run of every figure. A scenario that was run again replaced what was here of it.
"""


def page(everything: dict[str, Any], pictures: bool) -> str:
    """Return the page in Markdown.

    Args:
        everything: the content of `figures.json`.
        pictures: `SCENARIO.svg` is beside the page for each.
    """
    kept: dict[str, dict[str, Any]] = everything["scenarios"]
    parts = [_ABOUT]
    rows = targets.table({name: load(name).values(report) for name, report in kept.items()})
    if rows:
        parts.append(f"## Targets\n\n{_code(tables.text(('target', 'limit', 'measured', ''), rows))}")
    parts += [_section(name, report, pictures) for name, report in kept.items()]
    return "\n".join(parts)


def _section(name: str, report: dict[str, Any], pictures: bool) -> str:
    scenario = load(name)
    made, known = report["machine"], report["versions"]
    about = (
        f"`{report['command']}` at commit `{known['commit']}`, {made['time']}, {report['seconds']:.0f} s. "
        f"{made['processor']}, {made['cores']} cores, Python {str(known['python']).split()[-1]}; load "
        f"{made['load_average'][0]:.1f} before it began."
    )
    missed = [f"- Missed: {sentence}" for sentence in targets.missed(name, scenario.values(report))]
    parts = [f"## {name}\n", f"{str(scenario.__doc__).splitlines()[0]}\n", f"{about}\n"]
    if pictures:
        parts.append(f"![{name}]({name}.svg)\n")
    parts.append(_code(scenario.table(report)))
    return "\n".join([*parts, *missed, *([""] if missed else [])])


def _code(text: str) -> str:
    return f"```text\n{text}\n```\n"
