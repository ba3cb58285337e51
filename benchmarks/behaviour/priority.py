"""Priority: do thousands of evaluations in flight delay the rollouts?

The same rollouts at a steady rate, with and without evaluations in flight through `with_options(priority="eval")`, in
pairs; against a server that takes any number of samples, and against one with a capacity of which the rollouts alone
use half. Evaluations are longer than rollouts where the server takes any number: thousands of short ones would be
more than one thread can carry, and the comparison one of a busy processor with an idle one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from benchmarks import tables
from benchmarks.behaviour import showing
from benchmarks.behaviour.launching import run_client, stub
from benchmarks.measure import spread
from benchmarks.processes import RunFailedError, placement
from benchmarks.scenarios import Common, Report, Say

ALONE, BESIDE = "alone", "beside"
SERVERS = ("unlimited", "capacity")
_FIGURES = ("p50", "p95")
# The shortest evaluations have ended before the last are submitted, so never quite all are at the server.
_SETTLED = 0.8


class Settings(Common, frozen=True, kw_only=True):
    """What is run.

    Attributes:
        servers: which of `SERVERS`.
        rollouts: rollouts in flight against the unlimited server.
        rollout_ms: how long each takes there.
        evals: evaluations in flight.
        eval_ms: how long each takes there on average; at the other they take as long as rollouts, on average.
        places: what the server with a capacity works on at a time; half as many rollouts are in flight there.
        eval_priority: what evaluations are submitted with. "rollout" shows what priorities are for.
        warm_up: seconds that are not measured, at least; an unlimited server has had most evaluations by then.
        seconds: seconds that are.
    """

    servers: tuple[str, ...] = SERVERS
    rollouts: int = 64
    rollout_ms: int = 100
    evals: int = 5_000
    eval_ms: int = 10_000
    places: int = 64
    eval_priority: str = "eval"
    warm_up: float = 4.0
    seconds: float = 8.0


SETTINGS = Settings()


def run(settings: Settings, say: Say) -> Report:
    """Run the pairs and return settings, every run, and the summary for each server.

    Raises:
        RunFailedError: a process failed, a sample failed, or there were no evaluations where there should be.
    """
    levels = []
    for server in settings.servers:
        pairs = []
        for index in range(settings.pairs):
            order = (ALONE, BESIDE) if index % 2 == 0 else (BESIDE, ALONE)
            pair = {kind: _run_one(server, kind, settings) for kind in order}
            pairs.append(pair)
            told = ", ".join(f"{name} {pair[ALONE][name]:.1f} -> {pair[BESIDE][name]:.1f} ms" for name in _FIGURES)
            say(f"{server}, pair {index + 1} of {settings.pairs}: {told}; "
                f"{pair[BESIDE]['counts']['eval']} evals finished")  # fmt: skip
        levels.append({"server": server, "summary": summarize(pairs), "pairs": pairs})
    return {"settings": msgspec.to_builtins(settings), "levels": levels}


def _run_one(server: str, kind: str, settings: Settings) -> dict[str, Any]:
    server_cores, client_cores = placement(pin=settings.pin)
    limited = server == "capacity"
    # Rollouts take their time to the millisecond, so that what comes on top of it is the client's and the queue's.
    room = {"places": settings.places, "waiting": settings.places // 4} if limited else {}
    with stub(**room, jitter=0.05 if limited else 0.0, cores=server_cores) as url:
        spec = {
            "url": url,
            "cores": client_cores,
            "rollouts": settings.places // 2 if limited else settings.rollouts,
            "rollout_tokens": settings.rollout_ms,
            "evals": settings.evals if kind == BESIDE else 0,
            "eval_tokens": settings.rollout_ms if limited else settings.eval_ms,
            "priority": settings.eval_priority,
            "warm_up": settings.warm_up,
            "settled": round(_SETTLED * settings.evals) if kind == BESIDE and not limited else 0,
            "seconds": settings.seconds,
        }
        result = run_client("rollouts", spec)
    _check(kind, result, spec)
    return judge(result)


def _check(kind: str, result: dict[str, Any], spec: dict[str, Any]) -> None:
    if result["counts"]["failed"]:
        raise RunFailedError(f"{kind}: {result['counts']['failed']} samples failed\n{result['stderr']}")
    if not result["latencies"]:
        raise RunFailedError(f"{kind}: not one rollout was finished in {spec['seconds']:g} s")
    accepted, rollouts = result["server"]["samples"].get("accepted", 0), result["submitted"]["rollout"]
    if (kind == BESIDE) != (accepted > rollouts + 1):
        raise RunFailedError(f"{kind}: the server took {accepted} samples, and {rollouts} rollouts were submitted")


def judge(result: dict[str, Any]) -> dict[str, Any]:
    """Return the percentiles of the rollouts' latency in milliseconds, and the counts."""
    latencies, figures = result["latencies"], result["figures"]
    return {
        "p50": showing.percentile(latencies, 0.5),
        "p95": showing.percentile(latencies, 0.95),
        "p99": showing.percentile(latencies, 0.99),
        "counts": result["counts"],
        "core_used": (figures["user_seconds"] + figures["system_seconds"]) / figures["wall_seconds"],
        "server_core_used": result["server_core_used"],
        "server": {name: result["server"][name] for name in ("samples", "most", "most_connections")},
    }


def summarize(pairs: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return the spread of each percentile, and of its growth within the pairs."""
    kinds = {
        kind: {
            name: spread(pair[kind][name] for pair in pairs)
            for name in (*_FIGURES, "p99", "core_used", "server_core_used")
        }
        for kind in (ALONE, BESIDE)
    }
    growth = {name: spread(pair[BESIDE][name] / pair[ALONE][name] for pair in pairs) for name in _FIGURES}
    return {"kinds": kinds, "growth": growth}


def values(report: Report) -> dict[str, float]:
    """Return the growth of each percentile at each server."""
    return {
        f"{level['server']}.{name}": level["summary"]["growth"][name]["median"]
        for level in report["levels"]
        for name in _FIGURES
    }


def table(report: Report) -> str:
    """Return the summary as a table for people."""
    rows = []
    for level in report["levels"]:
        for kind, figures in level["summary"]["kinds"].items():
            growth = level["summary"]["growth"]
            ratios = [tables.cell(growth[name], 2) if kind == BESIDE else "" for name in _FIGURES]
            used = [tables.cell(figures[name], 2) for name in ("core_used", "server_core_used")]
            cells = [tables.cell(figures[name], 1) for name in _FIGURES]
            rows.append((level["server"], f"{kind}", *cells, *ratios, *used))
    return tables.text(
        ("server", "rollouts", "p50 ms", "p95 ms", "p50 grows", "p95 grows", "cores used", "stub's"), rows
    )


def picture(report: Report, file: Path) -> None:
    """Draw the percentiles without and with evaluations."""
    figure, axes = showing.canvas(len(report["levels"]))
    for axis, level in zip(axes[0], report["levels"], strict=True):
        for offset, kind, colour in ((-0.2, ALONE, showing.OTHER), (0.2, BESIDE, showing.OURS)):
            known = level["summary"]["kinds"][kind]
            places = [index + offset for index in range(len(_FIGURES))]
            axis.bar(places, [known[name]["median"] for name in _FIGURES], 0.4, color=colour, label=kind)
        axis.set_xticks(range(len(_FIGURES)), _FIGURES)
        axis.set(title=level["server"], ylabel="ms")
        axis.legend(frameon=False)
    showing.save(figure, file)
