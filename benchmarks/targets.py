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
        """Return by which part of the limit (of 1 where it is 0) a figure misses it; 0 or less when it does not."""
        over = (measured - self.limit) / (self.limit or 1)
        return -over if self.at_least else over


_FLAT = 1.3
_LEVELS = (64, 400, 2_000)
_BESIDE_EVALS = 1.1

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
    *(
        Target("tls", f"{n}.cpu.official", f"CPU at {n:,} in flight over TLS, ours / official", 1 / 15)
        for n in _LEVELS
    ),
    Target("tls", "1.cpu.official", "CPU at 1 in flight over TLS, ours / official", 1 / 8),
    Target("tls", "2000 held.peak_rss_mib", "peak memory with 2,000 held for 5 s over TLS, MiB", 100),
    Target("tls", "10000 held.peak_rss_mib", "peak memory with 10,000 held for 5 s over TLS, MiB", 250),
    Target("training", "numpy", "CPU of a training step from numpy, results read as arrays, ours / official", 1 / 5),
    Target("training", "lists", "CPU of a training step from Python lists, read as lists, ours / official", 0.55),
    Target("import", "time.official", "import time, ours / official", 0.45),
    Target("import", "ours.rss_mib", "resident memory after the import, MiB", 40),
    Target("first_sample", "time.official", "process start to first sample, ours / official", 0.6),
    *(
        target
        for n in (8, 64, 512)
        for target in (
            Target("capacity", f"{n}.ratio", f"throughput, server of {n}, ours / best fixed limit", 0.9, at_least=True),
            Target("capacity", f"{n}.rejected", f"share of submissions rejected, server of {n}", 0.05),
        )
    ),
    *(
        Target("priority", f"{server}.{figure}", f"{figure} of rollouts beside evals / alone, {what}", _BESIDE_EVALS)
        for server, what in (("unlimited", "unlimited server"), ("capacity", "server with a capacity"))
        for figure in ("p50", "p95")
    ),
    *(
        target
        for kind in ("queued", "held", "streaming")
        for target in (
            Target("lanes", f"{kind}.step_ms", f"training step beside 10,000 samples {kind}, p95 until sent, ms", 50),
            Target("lanes", f"{kind}.periods_late", f"heartbeats beside a busy main thread, {kind}, periods late", 1),
        )
    ),
    *(
        target
        for way in ("a poll per future", "retrieve_futures")
        for target in (
            Target("asyncio", f"{way}.wakes", f"loop wake-ups a second, 10,000 awaits, {way}", 100),
            Target("asyncio", f"{way}.threads", f"threads more for 10,000 awaits, {way}", 8),
        )
    ),
    Target("soak", "growing", "soak: figures that grow (memory, threads, sockets)", 0),
    Target("soak", "bad", "soak: samples lost, failed or wrong", 0),
    Target("engine", "train", "engine: training tokens a second, ours / PyTorch", 0.5, at_least=True),
    *(
        Target("engine", f"sample {n}", f"engine: tokens a second, {n} at once, ours / PyTorch", 1, at_least=True)
        for n in (1, 16, 64)
    ),
)  # fmt: skip


def limit(scenario: str, value: str) -> float:
    """Return the limit of a scenario's figure, for a mark in its picture."""
    return next(target.limit for target in TARGETS if (target.scenario, target.value) == (scenario, value))


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
