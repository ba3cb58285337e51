"""Targets: what the client is meant to reach, in one table, and what is said of those it misses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Target(NamedTuple):
    """One mark.

    Attributes:
        scenario: whose `values` has the figure.
        value: the figure's name there.
        what: the same for people, with its unit.
        limit: what is still good.
        at_least: more is better; else less is.
    """

    scenario: str
    value: str
    what: str
    limit: float
    at_least: bool = False

    def missed_by(self, measured: float) -> float:
        """Return by which part of the limit a figure misses it; 0 or less when it does not."""
        over = measured / self.limit - 1
        return -over if self.at_least else over


_FLAT = 1.3
_STEP = "training step beside official"
_LEVELS = (64, 400, 2_000)

TARGETS: tuple[Target, ...] = (
    *(
        Target("sampling", f"{n}.cpu.official", f"CPU at {n:,} in flight, ours / official", 1 / 15)
        for n in _LEVELS
    ),
    *(
        Target("sampling", f"{n}.cpu.raw_sockets", f"CPU at {n:,} in flight, ours / raw sockets", 2.5)
        for n in _LEVELS
    ),
    Target("sampling", "1.cpu.official", "CPU at 1 in flight, ours / official", 1 / 8),
    Target("sampling", "400.speed.official", "samples per second at 400 in flight, ours / official", 12, at_least=True),
    *(
        Target("completions", f"{n}.cpu.official", f"CPU at {n:,} in flight by completions, ours / official", 1 / 12)
        for n in _LEVELS
    ),
    Target("latency", "64.p99_over_ms", "p99 over the simulated latency at 64 in flight, ms", 15),
    Target("held", "2000.peak_rss_mib", "peak memory with 2,000 held for 5 s, MiB", 100),
    Target("held", "10000.peak_rss_mib", "peak memory with 10,000 held for 5 s, MiB", 250),
    Target("held", "threads.threads", "threads at 2,000 in flight with 3 service clients", 8),
    *(
        Target("growth", f"{n}.cpu_growth", f"CPU per sample at {n:,} in flight / at 400", _FLAT)
        for n in (2_000, 10_000)
    ),
    *(
        Target("growth", f"{n}.memory_growth", f"memory per pending sample at {n:,} in flight / at 400", _FLAT)
        for n in (2_000, 10_000)
    ),
    Target("training", f"{_STEP}, from numpy", "CPU of a training step from numpy, ours / official", 1 / 5),
    Target("training", f"{_STEP}, from lists", "CPU of a training step from Python lists, ours / official", 0.55),
    Target("import", "time.official", "import time, ours / official", 0.45),
    Target("import", "ours.rss_mib", "resident memory after the import, MiB", 40),
    Target("first_sample", "time.official", "process start to first sample, ours / official", 0.6),
)  # fmt: skip


def missed(scenario: str, values: Mapping[str, float]) -> list[str]:
    """Return a sentence for each of a scenario's targets that was missed; what was not measured is passed over."""
    return [
        f"{target.what}: {values[target.value]:.3g}, and the target is at {_bound(target)} {target.limit:.3g} "
        f"({target.missed_by(values[target.value]):.0%} off)"
        for target in TARGETS
        if target.scenario == scenario and target.value in values and target.missed_by(values[target.value]) > 0
    ]


def table(measured: Mapping[str, Mapping[str, float]]) -> list[tuple[str, str, str, str]]:
    """Return target, limit, figure and verdict for every target whose scenario was measured.

    Args:
        measured: `values` of each scenario.
    """
    return [
        (
            target.what,
            f"at {_bound(target)} {target.limit:.3g}",
            f"{measured[target.scenario][target.value]:.3g}",
            "missed" if target.missed_by(measured[target.scenario][target.value]) > 0 else "met",
        )
        for target in TARGETS
        if target.value in measured.get(target.scenario, {})
    ]


def _bound(target: Target) -> str:
    return "least" if target.at_least else "most"
