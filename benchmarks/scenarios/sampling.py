"""Sampling: client CPU seconds per 1,000 samples, ours beside urllib3 in threads.

Each variant runs in a fresh process against a fresh stub server, in pairs, one right after the other, with the
order turned round every time. What is compared is the ratio within a pair, so that a machine that is slow for a
while is slow for both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.measure import spread
from benchmarks.processes import RunFailedError, placement, run_client, stub

OURS, OTHER = "ours", "urllib3_threads"
_SMALLEST_WARM_UP = 16
_FIGURES = ("cpu_per_1000", "samples_per_second", "peak_rss_mib", "threads", "server_cpu_per_1000")


class Settings(NamedTuple):
    """What is run.

    Attributes:
        workload: a name of `WORKLOADS`.
        levels: samples in flight, one comparison each.
        samples: samples in each measured wave.
        pairs: pairs per level.
        hold_ms: how long the stub holds each future, in milliseconds.
        pin: give server and client a core each, where there are two.
    """

    workload: str
    levels: list[int]
    samples: int
    pairs: int
    hold_ms: float
    pin: bool


def run(settings: Settings, say: Callable[[str], None]) -> dict[str, Any]:
    """Run all levels and return settings, every run, and the summary of each level.

    Raises:
        RunFailedError: a process failed, a sample was wrong, or the variants were not what they should be.
    """
    levels = []
    for in_flight in settings.levels:
        pairs = []
        for index in range(settings.pairs):
            order = (OURS, OTHER) if index % 2 == 0 else (OTHER, OURS)
            pair = {variant: _run_one(variant, in_flight, settings) for variant in order}
            _check_differ(pair)
            pairs.append(pair)
            costs = ", ".join(f"{name} {pair[name]['figures']['cpu_per_1000']:.3f}" for name in (OURS, OTHER))
            say(f"{in_flight} in flight, pair {index + 1} of {settings.pairs}: CPU s per 1,000 samples: {costs}")
        levels.append({"in_flight": in_flight, "summary": summarize(pairs), "pairs": pairs})
    return {"settings": settings._asdict(), "levels": levels}


def _run_one(variant: str, in_flight: int, settings: Settings) -> dict[str, Any]:
    server_cores, client_cores = placement(pin=settings.pin)
    warm_up = max(_SMALLEST_WARM_UP, in_flight)
    arguments = ("--workload", settings.workload, "--hold-ms", str(settings.hold_ms))
    with stub(*arguments, where=server_cores) as url:
        spec = {
            "variant": variant,
            "url": url,
            "workload": settings.workload,
            "in_flight": in_flight,
            "samples": settings.samples,
            "warm_up": warm_up,
            "cores": client_cores,
        }
        result = run_client("benchmarks.variants.run", spec)
    _check_right(variant, result, settings.samples + warm_up)
    return result


def _check_right(variant: str, result: dict[str, Any], samples: int) -> None:
    """Refuse a run in which a sample was wrong, missing or asked for twice."""
    server, right = result["server"], result["figures"]["right"]
    if right != samples or server["requests"].get("asample") != samples or server["faults"]:
        raise RunFailedError(
            f"{variant}: {right} of {samples} samples were right; the server saw {server['requests']} and faults "
            f"{server['faults']}\n{result['stderr']}"
        )


def _check_differ(pair: dict[str, dict[str, Any]]) -> None:
    """Refuse a pair that does not compare what it says: by what the clients say, and by what the server saw."""
    classes = {name: result["described"]["client"] for name, result in pair.items()}
    agents = {name: set(result["server"]["user_agents"]) for name, result in pair.items()}
    differ = (
        classes[OURS].startswith("tinker_actors.")
        and "HttpTransport" in pair[OURS]["described"]["actors"]
        and classes[OTHER].startswith("urllib3.")
        and agents[OURS].isdisjoint(agents[OTHER])
        and all("urllib3" in agent for agent in agents[OTHER])
    )
    if not differ:
        raise RunFailedError(f"the variants are not what they should be: {classes}, user agents {agents}")


def summarize(pairs: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return median, smallest and largest of each figure, and of the ratio of CPU cost within the pairs."""
    figures = {
        variant: {name: spread(pair[variant]["figures"][name] for pair in pairs) for name in _FIGURES}
        for variant in (OURS, OTHER)
    }
    ratios = [pair[OURS]["figures"]["cpu_per_1000"] / pair[OTHER]["figures"]["cpu_per_1000"] for pair in pairs]
    return {"variants": figures, "ratio": spread(ratios)}


def table(report: dict[str, Any]) -> str:
    """Return the summary as a table for people."""
    head = ("in flight", "client", "CPU s / 1,000", "samples/s", "peak RSS MiB", "threads", "ours / urllib3")
    rows = [head]
    for level in report["levels"]:
        summary = level["summary"]
        for variant, figures in summary["variants"].items():
            ratio = _cell(summary["ratio"], 2) if variant == OURS else ""
            rows.append(
                (
                    str(level["in_flight"]),
                    variant.replace("_", " in "),
                    _cell(figures["cpu_per_1000"], 3),
                    _cell(figures["samples_per_second"], 0),
                    _cell(figures["peak_rss_mib"], 0),
                    f"{figures['threads']['median']:.0f}",
                    ratio,
                )
            )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _cell(values: dict[str, float], digits: int) -> str:
    return f"{values['median']:.{digits}f} ({values['min']:.{digits}f}..{values['max']:.{digits}f})"


def too_dear(report: dict[str, Any]) -> list[int]:
    """Return the levels at which our client is not the cheaper one."""
    return [level["in_flight"] for level in report["levels"] if level["summary"]["ratio"]["median"] >= 1]
