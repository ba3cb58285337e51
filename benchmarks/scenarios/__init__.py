"""Scenarios: each compares variants on one workload, checks that they did the same work, and reports.

A scenario is a module that has what `Scenario` lists, and a line in `SCENARIOS` (or in `SCENARIOS` of
`benchmarks.behaviour`). It is imported when it is run, so that one needs nothing of the others. The command line
replaces those fields of `SETTINGS` that have the name of an option; a scenario has only the fields it uses.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Protocol, cast

import msgspec

Say = Callable[[str], None]
"""Where progress is told, line by line."""

Report = dict[str, Any]
"""What a run gives: JSON-able, with at least `settings`."""


Pairs = Annotated[int, msgspec.Meta(ge=1)]
"""How many rounds there are."""


class Common(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that most scenarios share; a scenario's own settings extend them.

    Attributes:
        pairs: how often each cell is measured; all variants once in each round, in alternating order.
        pin: give the client a core of its own and the stub another, where there are two.
        official_python: an interpreter that has `tinker==0.38.0`, and no torch, which it would load.
    """

    pairs: Pairs = 5
    pin: bool = True
    official_python: str = ".venv-bench38/bin/python"


class Scenario(Protocol):
    """What a scenario's module has.

    Attributes:
        SETTINGS: what is run unless the command line says otherwise: a frozen msgspec struct.
    """

    SETTINGS: msgspec.Struct

    def run(self, settings: Any, say: Say) -> Report:
        """Run everything and return a report; raise `RunFailedError` if a run is not valid."""
        ...

    def values(self, report: Report) -> dict[str, float]:
        """Return the figures that targets are about, by name; `benchmarks.targets` has the targets."""
        ...

    def table(self, report: Report) -> str:
        """Return the report as a table for people."""
        ...

    def picture(self, report: Report, file: Path) -> None:
        """Draw the report into an SVG file; matplotlib is imported here and nowhere else."""
        ...


SCENARIOS: dict[str, str] = {
    "sampling": "benchmarks.scenarios.sampling",
    "latency": "benchmarks.scenarios.latency",
    "completions": "benchmarks.scenarios.completions",
    "growth": "benchmarks.scenarios.growth",
    "held": "benchmarks.scenarios.held",
    "tls": "benchmarks.scenarios.tls",
    "large": "benchmarks.scenarios.large",
    "profile": "benchmarks.scenarios.profile",
    "import": "benchmarks.scenarios.importing",
    "first_sample": "benchmarks.scenarios.first_sample",
    "engine": "benchmarks.scenarios.engine_beside",
}
"""Module of each scenario, in the order in which they are run."""

NOT_WITH_ALL = ("engine", "soak")
"""Scenarios that run only when they are asked for by name."""


def known() -> dict[str, str]:
    """Return the module of each scenario, those of `benchmarks.behaviour` included."""
    behaviour: dict[str, str] = importlib.import_module("benchmarks.behaviour").SCENARIOS
    return {**SCENARIOS, **behaviour}


def load(name: str) -> Scenario:
    """Return the module of a scenario."""
    return cast("Scenario", importlib.import_module(known()[name]))


def settings_for(scenario: Scenario, options: dict[str, Any]) -> Any:
    """Return the scenario's settings with those options replaced that it has and that are not None."""
    has = {field.name for field in msgspec.structs.fields(scenario.SETTINGS)}
    given = {name: value for name, value in options.items() if value is not None and name in has}
    return msgspec.structs.replace(scenario.SETTINGS, **given)
