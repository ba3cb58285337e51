"""Soak: samples at a fixed rate for minutes on a bad network; nothing may grow, nothing may be lost.

One request in a hundred around samples goes wrong: 503, a connection dropped before or after the request was heard, an
answer cut in the middle, 429, a forgotten future, an answer two seconds late. After the warm-up a line is fitted
through resident memory, threads and sockets. A line counts as growth when it is both certain, its slope being more
than two standard errors above zero, and worth mentioning over the time that was watched.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks import tables
from benchmarks.behaviour import showing
from benchmarks.behaviour.launching import run_client, stub
from benchmarks.processes import RunFailedError, placement
from benchmarks.scenarios import Common, Report, Say

MOST_GROWTH: dict[str, tuple[float, float]] = {"rss_mib": (3.0, 0.05), "threads": (1.0, 0.0), "sockets": (8.0, 0.25)}
"""Growth over the watched time that is not worth mentioning: so much, or this share of the mean."""
_STANDARD_ERRORS = 2.0
_RESULT_TOKENS = 64
_BLOCKS = 12


class Settings(Common, frozen=True, kw_only=True):
    """What is run.

    Attributes:
        minutes: for how long.
        rate: samples a second.
        sample_ms: how long each takes on average.
        faults: share of the requests around samples that something goes wrong with.
        warm_up: share of the time before the lines begin.
        retrieve_futures: hear of results over one connection instead of one request for each.
        leak: bytes to keep of each sample on purpose, to see the judge fail.
    """

    minutes: float = 3.0
    rate: float = 200.0
    sample_ms: int = 200
    faults: float = 0.01
    warm_up: float = 0.25
    retrieve_futures: bool = False
    leak: int = 0


SETTINGS = Settings()


def run(settings: Settings, say: Say) -> Report:
    """Run and return settings, what was seen over time, the lines, and what became of the samples.

    Raises:
        RunFailedError: a process failed, or no fault was injected although some should have been.
    """
    server_cores, client_cores = placement(pin=settings.pin)
    seconds = 60 * settings.minutes
    say(f"{settings.rate:g} samples a second for {settings.minutes:g} minutes")
    with stub(
        faults=settings.faults,
        jitter=0.5,
        result_tokens=_RESULT_TOKENS,
        retrieve_futures=settings.retrieve_futures,
        cores=server_cores,
    ) as url:
        spec = {
            "url": url,
            "cores": client_cores,
            "rate": settings.rate,
            "seconds": seconds,
            "tokens": settings.sample_ms,
            "result_tokens": _RESULT_TOKENS,
            "look_every": max(seconds / 300, 0.05),
            "leak": settings.leak,
        }
        result = run_client("soaking", spec, patience=seconds + 300)
    injected = sum(result["server"]["injected"].values())
    if bool(injected) != bool(settings.faults):
        raise RunFailedError(f"{injected} faults were injected, and these samples failed: {result['failed']}")
    return {"settings": msgspec.to_builtins(settings), **judge(result, settings.warm_up)}


def judge(result: dict[str, Any], warm_up: float) -> dict[str, Any]:
    """Return the lines through what was seen after the warm-up, and the fate of the samples."""
    series = result["series"]
    begin = series[-1]["seconds"] * warm_up
    watched = [look for look in series if look["seconds"] >= begin]
    lines = {
        name: line([look["seconds"] for look in watched], [look[name] for look in watched]) for name in MOST_GROWTH
    }
    figures = result["figures"]
    return {
        "lines": lines,
        "grows": [name for name, fitted in lines.items() if grows(name, fitted)],
        "most_pending": max(look["pending"] for look in watched),
        "cpu_per_1000": 1000 * (figures["user_seconds"] + figures["system_seconds"]) / max(result["submitted"], 1),
        "injected": result["server"]["injected"],
        **result,
    }


def line(when: list[float], known: list[float]) -> dict[str, float]:
    """Fit a line; return mean, slope per hour, its standard error, and the growth over the time watched.

    Values are averaged over blocks of time first: neighbouring looks at a process are no independent measurements,
    and a standard error that takes them for such would be too small.
    """
    blocks = min(_BLOCKS, len(when))
    x = np.array([part.mean() for part in np.array_split(np.array(when), blocks)])
    y = np.array([part.mean() for part in np.array_split(np.array(known), blocks)])
    centred = x - x.mean()
    spread = float(centred @ centred)
    slope = float(centred @ y) / spread if spread else 0.0
    rest = y - y.mean() - slope * centred
    error = float(np.sqrt(rest @ rest / max(blocks - 2, 1) / spread)) if spread else 0.0
    return {
        "mean": float(y.mean()),
        "slope_per_hour": 3600 * slope,
        "standard_error_per_hour": 3600 * error,
        "growth": slope * (when[-1] - when[0]),
        "largest": max(known),
    }


def grows(name: str, fitted: dict[str, float]) -> bool:
    """Return whether a fitted line counts as growth."""
    least, share = MOST_GROWTH[name]
    certain = fitted["slope_per_hour"] > _STANDARD_ERRORS * fitted["standard_error_per_hour"]
    return certain and fitted["growth"] > max(least, share * fitted["mean"])


def values(report: Report) -> dict[str, float]:
    """Return how many figures grow, and how many samples were lost, failed or wrong."""
    bad = report["lost"] + report["wrong"] + sum(report["failed"].values())
    return {"growing": float(len(report["grows"])), "bad": float(bad)}


def table(report: Report) -> str:
    """Return the lines and the fate of the samples as text."""
    rows = []
    for name, fitted in report["lines"].items():
        slope = f"{fitted['slope_per_hour']:+.2f} (standard error {fitted['standard_error_per_hour']:.2f})"
        verdict = "GROWS" if name in report["grows"] else "flat"
        growth = f"{fitted['growth']:+.2f}"
        rows.append((name, f"{fitted['mean']:.1f}", f"{fitted['largest']:.1f}", slope, growth, verdict))
    lines = tables.text(("", "mean", "largest", "slope per hour", "growth while watched", "verdict"), rows)
    injected = ", ".join(f"{count} x {name}" for name, count in sorted(report["injected"].items()))
    fate = (
        f"{report['submitted']} samples: {report['right']} right, {report['wrong']} wrong, "
        f"{sum(report['failed'].values())} failed {report['failed'] or ''}, {report['lost']} lost; slowest "
        f"{report['slowest_ms']:.0f} ms; at most {report['most_pending']} pending; drained after "
        f"{report['drained_after_seconds']:.1f} s; {report['cpu_per_1000']:.3f} CPU s per 1,000."
    )
    return f"{lines}\n{fate}\nInjected: {injected or 'nothing'}."


def picture(report: Report, file: Path) -> None:
    """Draw memory, threads, sockets and pending samples over time, with the fitted lines."""
    names = (*MOST_GROWTH, "pending")
    figure, axes = showing.canvas(len(names))
    minutes = [look["seconds"] / 60 for look in report["series"]]
    for axis, name in zip(axes[0], names, strict=True):
        axis.plot(minutes, [look[name] for look in report["series"]], color=showing.OURS, linewidth=0.8)
        if name in report["lines"]:
            fitted, begin = report["lines"][name], report["settings"]["warm_up"] * minutes[-1]
            ends = [fitted["mean"] - fitted["growth"] / 2, fitted["mean"] + fitted["growth"] / 2]
            axis.plot([begin, minutes[-1]], ends, color=showing.MARK, linewidth=1.2)
        axis.set(title=name.replace("_mib", ", MiB"), xlabel="minutes", ylim=(0, None))
    showing.save(figure, file)
