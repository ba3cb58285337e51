"""asyncio: ten thousand futures awaited in one loop, while results stream in.

Counted are, per second, how often the loop is woken from sleep, its turns and what other threads ask of it, and the
threads that waiting adds;
beside it, the same samples waited for by one plain thread. Each with both ways to hear of results: a request per
future, and one connection for all (`retrieve_futures`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from benchmarks import tables, targets
from benchmarks.behaviour import showing
from benchmarks.behaviour.launching import run_client, stub
from benchmarks.measure import spread
from benchmarks.processes import RunFailedError, placement
from benchmarks.scenarios import Common, Pairs, Report, Say

LOOP, THREAD = "asyncio", "thread"
WAYS = ("a poll per future", "retrieve_futures")
_RESULT_TOKENS = 16


class Settings(Common, frozen=True, kw_only=True):
    """What is run.

    Attributes:
        samples: samples in flight, all at once.
        stream_ms: how long results stream in.
        ways: which of `WAYS`.
    """

    pairs: Pairs = 3
    samples: int = 10_000
    stream_ms: int = 15_000
    ways: tuple[str, ...] = WAYS


SETTINGS = Settings()


def run(settings: Settings, say: Say) -> Report:
    """Run all and return settings, every run, and the summary of each way.

    Raises:
        RunFailedError: a process failed, a result was wrong, or a run did not wait in the way it should.
    """
    levels = []
    for way in settings.ways:
        pairs = []
        for index in range(settings.pairs):
            order = (LOOP, THREAD) if index % 2 == 0 else (THREAD, LOOP)
            pair = {driver: _run_one(way, driver, settings) for driver in order}
            pairs.append(pair)
            loop = pair[LOOP]
            say(f"{way}, pair {index + 1} of {settings.pairs}: {loop['wakes_per_second']:.0f} wake-ups a second, CPU s "
                f"per 1,000: {loop['cpu_per_1000']:.3f}, in a thread {pair[THREAD]['cpu_per_1000']:.3f}")  # fmt: skip
        levels.append({"way": way, "summary": summarize(pairs), "pairs": pairs})
    return {"settings": msgspec.to_builtins(settings), "levels": levels}


def _run_one(way: str, driver: str, settings: Settings) -> dict[str, Any]:
    server_cores, client_cores = placement(pin=settings.pin)
    many = way == WAYS[1]
    with stub(retrieve_futures=many, jitter=0.0, hold=60.0, result_tokens=_RESULT_TOKENS, cores=server_cores) as url:
        spec = {
            "url": url,
            "cores": client_cores,
            "driver": driver,
            "samples": settings.samples,
            "longest": settings.stream_ms,
            "result_tokens": _RESULT_TOKENS,
            "connections": settings.samples + 8,
        }
        result = run_client("awaiting", spec)
    requests = result["server"]["requests"]
    if result["right"] != settings.samples:
        raise RunFailedError(f"{way}, {driver}: {result['right']} of {settings.samples} results were right")
    if many != ("retrieve_futures" in requests):
        raise RunFailedError(f"{way}, {driver}: the server was asked {requests}")
    figures = result["figures"]
    result["cpu_per_1000"] = 1000 * (figures["user_seconds"] + figures["system_seconds"]) / settings.samples
    return result


def summarize(pairs: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return the spread of each figure, and of the ratio of CPU cost within the pairs."""
    return {
        "wakes_per_second": spread(pair[LOOP]["wakes_per_second"] for pair in pairs),
        "turns_per_second": spread(pair[LOOP]["turns_per_second"] for pair in pairs),
        "calls_per_second": spread(pair[LOOP]["calls_per_second"] for pair in pairs),
        "cpu_per_1000": {driver: spread(pair[driver]["cpu_per_1000"] for pair in pairs) for driver in (LOOP, THREAD)},
        "more_threads": {driver: spread(pair[driver]["more_threads"] for pair in pairs) for driver in (LOOP, THREAD)},
        "ratio": spread(pair[LOOP]["cpu_per_1000"] / pair[THREAD]["cpu_per_1000"] for pair in pairs),
    }


def values(report: Report) -> dict[str, float]:
    """Return wake-ups per second and threads for each way."""
    found = {}
    for level in report["levels"]:
        found[f"{level['way']}.wakes"] = level["summary"]["wakes_per_second"]["median"]
        found[f"{level['way']}.threads"] = level["summary"]["more_threads"][LOOP]["median"]
    return found


def table(report: Report) -> str:
    """Return the summary as a table for people."""
    rows = []
    for level in report["levels"]:
        known = level["summary"]
        for driver in (LOOP, THREAD):
            mine = driver == LOOP
            rows.append((
                level["way"],
                driver,
                tables.cell(known["wakes_per_second"], 0) if mine else "",
                tables.cell(known["turns_per_second"], 0) if mine else "",
                tables.cell(known["calls_per_second"], 0) if mine else "",
                f"{known['more_threads'][driver]['median']:.0f}",
                tables.cell(known["cpu_per_1000"][driver], 3),
                tables.cell(known["ratio"], 2) if mine else "",
            ))  # fmt: skip
    head = (
        "results by",
        "driver",
        "wake-ups/s",
        "turns/s",
        "threadsafe calls/s",
        "more threads",
        "CPU s / 1,000",
        "loop / thread",
    )
    return tables.text(head, rows)


def picture(report: Report, file: Path) -> None:
    """Draw wake-ups per second and CPU cost."""
    figure, axes = showing.canvas(2)
    levels, names = report["levels"], [level["way"] for level in report["levels"]]
    wakes = [level["summary"]["wakes_per_second"]["median"] for level in levels]
    axes[0][0].bar(names, wakes, 0.5, color=showing.OURS)
    axes[0][0].axhline(targets.limit("asyncio", f"{WAYS[0]}.wakes"), color=showing.MARK, linewidth=0.8)
    axes[0][0].set(title="one event loop", ylabel="wake-ups a second")
    for offset, driver, colour in ((-0.2, THREAD, showing.OTHER), (0.2, LOOP, showing.OURS)):
        cost = [level["summary"]["cpu_per_1000"][driver]["median"] for level in levels]
        axes[0][1].bar([index + offset for index in range(len(levels))], cost, 0.4, color=colour, label=driver)
    axes[0][1].set_xticks(range(len(names)), names)
    axes[0][1].set(title="cost", ylabel="CPU s per 1,000 samples")
    axes[0][1].legend(frameon=False)
    showing.save(figure, file)
