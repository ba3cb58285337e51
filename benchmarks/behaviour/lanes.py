"""Lanes: what must not wait for samples, and what must not wait for the main thread.

A small training step is called for while thousands of samples are queued, and the stub notes when its requests came
in; processes of one machine have the same monotonic clock. Once the samples wait here because the server has a
capacity; once the server has all of them and the client waits for their results; and once it has them, results stream
in, and a thread submits a new sample for each. Afterwards the main thread
computes in pure Python for a while, and the stub notes when heartbeats came in.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import tables, targets
from benchmarks.behaviour import showing
from benchmarks.behaviour.launching import run_client, stub
from benchmarks.processes import RunFailedError, placement
from benchmarks.scenarios import Common, Report, Say

KINDS = ("queued", "held", "streaming")
_OPERATIONS = ("forward_backward", "optim_step")
_PLACES = 64
# Results a second of the streaming kind: the lane and the feeding thread are busy, and neither is swamped.
_STREAM = 500.0


class Settings(Common, frozen=True, kw_only=True):
    """What is run.

    Attributes:
        kinds: which of `KINDS`.
        samples: samples that are queued.
        steps: training steps without, and as many with, the samples.
        seconds: seconds for which the main thread computes.
        heartbeat: seconds between heartbeats.
    """

    kinds: tuple[str, ...] = KINDS
    samples: int = 10_000
    steps: int = 30
    seconds: float = 60.0
    heartbeat: float = 10.0


SETTINGS = Settings()


def run(settings: Settings, say: Say) -> Report:
    """Run all kinds and return settings and what came out.

    Raises:
        RunFailedError: a process failed, or the samples were not queued where they should be.
    """
    found = {}
    for kind in settings.kinds:
        found[kind] = result = _run_one(kind, settings)
        beside, beats = result["steps"]["beside"]["optim_step"], result["heartbeats"]
        say(f"{kind}: a step's requests were there after {beside['p50']:.1f} ms (p50), {beside['max']:.1f} ms "
            f"(slowest); longest gap between {beats['count']} heartbeats {beats['longest_gap']:.2f} s")  # fmt: skip
    return {"settings": msgspec.to_builtins(settings), "kinds": found}


def _run_one(kind: str, settings: Settings) -> dict[str, Any]:
    server_cores, client_cores = placement(pin=settings.pin)
    queued = kind == "queued"
    room = {"places": _PLACES, "waiting": _PLACES // 4} if queued else {}
    # Samples that stream end one by one from the beginning on: some take next to no time.
    jitter = 0.95 if kind == "streaming" else 0.2
    with stub(**room, jitter=jitter, train_ms=5.0, cores=server_cores) as url:
        spec = {
            "url": url,
            "cores": client_cores,
            "samples": settings.samples,
            "tokens": _milliseconds(kind, settings),
            "feed": kind == "streaming",
            "accepted": _PLACES if queued else settings.samples,
            "steps": settings.steps,
            "burn": settings.seconds,
            "heartbeat": settings.heartbeat,
        }
        result = run_client("stepping", spec)
    _check(kind, result, settings)
    return judge(result, settings.heartbeat)


def _milliseconds(kind: str, settings: Settings) -> int:
    """Return how long a sample takes on the server."""
    if kind == "queued":
        return 500
    if kind == "held":
        return round(1000 * (settings.seconds + 120))
    return round(1000 * settings.samples / _STREAM)


def _check(kind: str, result: dict[str, Any], settings: Settings) -> None:
    """Refuse a run in which the samples were not where they should be when the steps were taken."""
    accepted = result["samples"]["after"].get("accepted", 0)
    finished = result["samples"]["after"].get("finished", 0)
    if kind != "streaming" and settings.samples - finished < settings.samples / 2:
        raise RunFailedError(f"{kind}: {finished} samples were finished before the steps were taken")
    if kind == "streaming" and finished == result["samples"]["before"].get("finished", 0):
        raise RunFailedError("streaming: no sample was finished while the steps were taken")
    if (kind == "queued") != (accepted < settings.samples):
        raise RunFailedError(f"{kind}: the server had accepted {accepted} of {settings.samples} samples")
    if result["burnt"]["cpu_seconds"] < 0.3 * (result["burnt"]["ended"] - result["burnt"]["began"]):
        raise RunFailedError(f"{kind}: the main thread did not get to compute: {result['burnt']}")


def judge(result: dict[str, Any], heartbeat: float) -> dict[str, Any]:
    """Return percentiles of the time until a step's requests were there, and the heartbeats' gaps in seconds."""
    steps = {
        kind: {name: _percentiles([step[name] for step in result[kind]]) for name in _OPERATIONS}
        for kind in ("alone", "beside")
    }
    burnt = result["burnt"]
    began, ended = burnt["began"], burnt["ended"]
    beats = [when for when in result["heartbeats"] if began <= when <= ended]
    last_before = max((when for when in result["heartbeats"] if when < began), default=began)
    # The one after the end was not waited for: the end bounds the last gap.
    longest = max(after - before for before, after in itertools.pairwise([last_before, *beats, ended]))
    return {
        "steps": steps,
        "heartbeats": {
            "count": len(beats),
            "period": heartbeat,
            "longest_gap": longest,
            "latest_by": longest - heartbeat,
        },
        "raw": result,
    }


def _percentiles(known: list[float]) -> dict[str, float]:
    return {"p50": showing.percentile(known, 0.5), "p95": showing.percentile(known, 0.95), "max": max(known)}


def values(report: Report) -> dict[str, float]:
    """Return, for each kind, the milliseconds until a step was there, and how late heartbeats were in periods."""
    found = {}
    for kind, result in report["kinds"].items():
        found[f"{kind}.step_ms"] = result["steps"]["beside"]["forward_backward"]["p95"]
        found[f"{kind}.periods_late"] = result["heartbeats"]["latest_by"] / result["heartbeats"]["period"]
    return found


def table(report: Report) -> str:
    """Return the figures as a table for people."""
    rows = []
    for kind, result in report["kinds"].items():
        for which, operations in result["steps"].items():
            for name, known in operations.items():
                numbers = [f"{known[figure]:.1f}" for figure in ("p50", "p95", "max")]
                rows.append((kind, which, name, *numbers, "", ""))
        beats = result["heartbeats"]
        numbers = [str(beats["count"]), f"{beats['period']:g}", f"{beats['longest_gap']:.2f}"]
        rows.append(
            (kind, "main thread busy", "heartbeats", "", "", "", f"{numbers[0]} every {numbers[1]}", numbers[2])
        )
    return tables.text(
        ("samples", "steps", "there after ms:", "p50", "p95", "slowest", "heartbeats", "longest gap s"), rows
    )


def picture(report: Report, file: Path) -> None:
    """Draw how long each step took to reach the server, without and with samples."""
    figure, axes = showing.canvas(len(report["kinds"]))
    for axis, (kind, result) in zip(axes[0], report["kinds"].items(), strict=True):
        for which, colour in (("alone", showing.OTHER), ("beside", showing.OURS)):
            known = sorted(step["forward_backward"] for step in result["raw"][which])
            axis.plot(known, [(index + 1) / len(known) for index in range(len(known))], color=colour, label=which)
        axis.axvline(targets.limit("lanes", f"{KINDS[0]}.step_ms"), color=showing.MARK, linewidth=0.8)
        axis.set(title=kind, xlabel="ms until a step was there", ylabel="share of steps", xlim=(0, None), ylim=(0, 1))
        axis.legend(frameon=False)
    showing.save(figure, file)
