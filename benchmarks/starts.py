"""Starts: what scenarios share that time a program of their own in rounds, the first of which is not counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from benchmarks.cells import OURS
from benchmarks.measure import spread
from benchmarks.scenarios import Common, Pairs, Report, Say

NOTHING = "nothing"
"""The variant that only starts: nothing is compared with it."""


class Settings(Common, frozen=True, kw_only=True):
    """What is run.

    Attributes:
        variants: who takes part: keys of `probe.IMPORTS`.
    """

    pairs: Pairs = 9
    variants: tuple[str, ...] = (OURS, "official", "numpy")


def run(
    settings: Settings, say: Say, what: str, measure: Callable[[str], dict[str, Any]], figures: Sequence[str]
) -> Report:
    """Run all rounds and return settings, every run, and the summary.

    Args:
        settings: what is run.
        say: where progress is told.
        what: what is timed, for that.
        measure: runs a variant once; its result has the figures.
        figures: what is summed up; `wall_ms` and `cpu_ms`, of which ratios are made, are among them.
    """
    found: list[dict[str, dict[str, Any]]] = []
    for index in range(settings.pairs + 1):
        names = settings.variants if index % 2 else settings.variants[::-1]
        found.append({name: measure(name) for name in names})
        if index:
            costs = ", ".join(f"{name} {found[-1][name]['wall_ms']:.0f}" for name in settings.variants)
            say(f"{what}, round {index} of {settings.pairs}: ms: {costs}")
    counted = found[1:]
    return {
        "settings": msgspec.to_builtins(settings),
        "summary": {
            name: {it: spread(one[name][it] for one in counted) for it in figures} for name in settings.variants
        },
        "ratios": {
            name: {it: spread(one[OURS][it] / one[name][it] for one in counted) for it in ("wall_ms", "cpu_ms")}
            for name in settings.variants
            if name not in (OURS, NOTHING)
        },
        "rounds": counted,
    }


def ratios(report: Report) -> dict[str, float]:
    """Return our time as a ratio to each other's."""
    return {f"time.{name}": ratio["wall_ms"]["median"] for name, ratio in report["ratios"].items()}
