"""Capacity: does the client find out by itself how many samples the server takes at a time?

The stub works on N samples at a time, keeps N/4 waiting and refuses the rest with 429, without saying when to come
back. The client is given far more. First each of several fixed limits is tried, which the client is told; then runs
with the best of them and runs with the adaptive limit follow each other. Throughput is what the stub finished after
the warm-up; rejected submissions are counted from the first sample on, warm-up included.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import tables
from benchmarks.behaviour import showing
from benchmarks.behaviour.launching import run_client, stub
from benchmarks.measure import spread
from benchmarks.processes import RunFailedError, placement
from benchmarks.scenarios import Common, Report, Say

ADAPTIVE, FIXED, NONE = "adaptive", "fixed", "none"
_LARGEST_RATE = 1_000.0
_SHORTEST = 50


class Settings(Common, frozen=True, kw_only=True):
    """What is run.

    Attributes:
        places: the N of the servers.
        fixed: the fixed limits that are tried, as multiples of N.
        offered: samples in flight as the caller sees it, as a multiple of N.
        warm_up: seconds before throughput is measured, at least ten times a sample's.
        seconds: seconds for which it is measured.
    """

    places: tuple[int, ...] = (8, 64, 512)
    fixed: tuple[float, ...] = (0.75, 1.0, 1.25, 2.0)
    offered: float = 4.0
    warm_up: float = 5.0
    seconds: float = 8.0


SETTINGS = Settings()


def run(settings: Settings, say: Say) -> Report:
    """Run all servers and return settings, every run, and the summary of each server.

    Raises:
        RunFailedError: a process failed, a sample failed, or a variant was not configured as it should be.
    """
    levels = []
    for places in settings.places:
        tried = {
            limit: _run_one(FIXED, places, limit, settings)
            for limit in sorted({max(1, round(share * places)) for share in settings.fixed})
        }
        for limit, result in tried.items():
            say(f"N = {places}, fixed limit {limit}: {_told(result)}")
        best = max(tried, key=lambda limit: tried[limit]["throughput"])
        none = _run_one(NONE, places, None, settings)
        say(f"N = {places}, no limit at all: {_told(none)}")
        pairs = []
        for index in range(settings.pairs):
            order = (ADAPTIVE, FIXED) if index % 2 == 0 else (FIXED, ADAPTIVE)
            pair = {kind: _run_one(kind, places, best if kind == FIXED else None, settings) for kind in order}
            _check_differ(pair, best)
            pairs.append(pair)
            say(f"N = {places}, pair {index + 1} of {settings.pairs}: adaptive {_told(pair[ADAPTIVE])}; "
                f"limit {best}: {_told(pair[FIXED])}")  # fmt: skip
        tried_named = {str(limit): result for limit, result in tried.items()}
        levels.append(
            {"places": places, "best": best, "summary": summarize(pairs), "tried": tried_named, "none": none,
             "pairs": pairs}
        )  # fmt: skip
    return {"settings": msgspec.to_builtins(settings), "levels": levels}


def _told(result: dict[str, Any]) -> str:
    return f"{result['throughput']:.0f}/s, {100 * result['rejected_share']:.1f} % rejected"


def _run_one(kind: str, places: int, limit: int | None, settings: Settings) -> dict[str, Any]:
    server_cores, client_cores = placement(pin=settings.pin)
    tokens = max(_SHORTEST, round(1000 * places / _LARGEST_RATE))  # a stub of one thread can't go faster
    warm_up = max(settings.warm_up, 10 * tokens / 1000)
    with stub(places=places, waiting=max(2, places // 4), cores=server_cores) as url:
        spec = {
            "url": url,
            "cores": client_cores,
            "offered": max(round(settings.offered * places), 32),
            "tokens": tokens,
            "warm_up": warm_up,
            "seconds": settings.seconds,
            "adaptive": kind == ADAPTIVE,
            "limit": limit,
        }
        result = run_client("offering", spec)
    if result["failures"]:
        raise RunFailedError(f"{kind}, N = {places}: {result['failures']} samples failed: {result['failed']}")
    return judge(result, warm_up)


def judge(result: dict[str, Any], warm_up: float) -> dict[str, Any]:
    """Return throughput after the warm-up and the share of rejected submissions from the beginning on."""
    series = result["series"]
    begin = next((look for look in series if look["now"] - series[0]["now"] >= warm_up), series[0])
    end = series[-1]
    seconds = max(end["now"] - begin["now"], 1e-9)
    submitted = end["accepted"] + end["rejected"]
    later = end["accepted"] - begin["accepted"] + end["rejected"] - begin["rejected"]
    return {
        "throughput": (end["finished"] - begin["finished"]) / seconds,
        "rejected_share": end["rejected"] / max(submitted, 1),
        "rejected_share_after_warm_up": (end["rejected"] - begin["rejected"]) / max(later, 1),
        "rejected": end["rejected"],
        "submitted": submitted,
        "most_unfinished": end["most"].get("unfinished", 0),
        "series": series,
        "config": result["config"],
    }


def _check_differ(pair: dict[str, dict[str, Any]], best: int) -> None:
    """Refuse a pair that does not compare what it says: by the configurations, and by what the server saw."""
    configured = {kind: f"adaptive_limit={kind == ADAPTIVE}" in pair[kind]["config"] for kind in pair}
    if not all(configured.values()):
        raise RunFailedError(f"the variants are not configured as they should be: {configured}")
    most = pair[FIXED]["most_unfinished"]
    if most > best:
        raise RunFailedError(f"with a limit of {best} samples in flight the server had {most} at a time")


def summarize(pairs: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return medians and spread of throughput and rejections, and of the ratio of throughput within the pairs."""
    kinds = {
        kind: {name: spread(pair[kind][name] for pair in pairs) for name in ("throughput", "rejected_share")}
        for kind in (ADAPTIVE, FIXED)
    }
    ratio = spread(pair[ADAPTIVE]["throughput"] / max(pair[FIXED]["throughput"], 1e-9) for pair in pairs)
    return {"kinds": kinds, "ratio": ratio}


def values(report: Report) -> dict[str, float]:
    """Return, for each server, the ratio of throughput and the share of rejected submissions."""
    found = {}
    for level in report["levels"]:
        summary, places = level["summary"], level["places"]
        found[f"{places}.ratio"] = summary["ratio"]["median"]
        found[f"{places}.rejected"] = summary["kinds"][ADAPTIVE]["rejected_share"]["median"]
    return found


def table(report: Report) -> str:
    """Return the summary as a table for people."""
    rows = []
    for level in report["levels"]:
        places, summary = level["places"], level["summary"]
        for limit, tried in level["tried"].items():
            rows.append((str(places), f"fixed {limit}, tried", f"{tried['throughput']:.0f}", _percent(tried), ""))
        rows.append((str(places), "no limit", f"{level['none']['throughput']:.0f}", _percent(level["none"]), ""))
        for kind, figures in summary["kinds"].items():
            rejected = {name: 100 * value for name, value in figures["rejected_share"].items()}
            name = kind if kind == ADAPTIVE else f"fixed {level['best']}, best"
            ratio = tables.cell(summary["ratio"], 2) if kind == ADAPTIVE else ""
            row = (str(places), name, tables.cell(figures["throughput"], 0), tables.cell(rejected, 1), ratio)
            rows.append(row)
    return tables.text(("N", "limit", "samples/s", "rejected %", "adaptive / best"), rows)


def _percent(result: dict[str, Any]) -> str:
    return f"{100 * result['rejected_share']:.1f}"


def picture(report: Report, file: Path) -> None:
    """Draw what the server finished per second over time, adaptive beside the best fixed limit."""
    figure, axes = showing.canvas(len(report["levels"]))
    for axis, level in zip(axes[0], report["levels"], strict=True):
        for kind, colour in ((FIXED, showing.OTHER), (ADAPTIVE, showing.OURS)):
            for index, pair in enumerate(level["pairs"]):
                label = (f"fixed {level['best']}" if kind == FIXED else kind) if index == 0 else None
                axis.plot(*_rates(pair[kind]["series"]), color=colour, linewidth=1, label=label)
        axis.set(title=f"N = {level['places']}", xlabel="seconds", ylabel="finished per second", ylim=(0, None))
        axis.legend(frameon=False)
    showing.save(figure, file)


def _rates(series: list[dict[str, Any]]) -> tuple[list[float], list[float]]:
    pairs = [(a, b) for a, b in itertools.pairwise(series) if b["now"] > a["now"]]
    when = [b["now"] - series[0]["now"] for _, b in pairs]
    return when, [(b["finished"] - a["finished"]) / (b["now"] - a["now"]) for a, b in pairs]
