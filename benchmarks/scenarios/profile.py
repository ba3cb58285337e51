"""Profile: where the time of a sample goes, layer by layer.

py-spy looks at our client many times a second while it samples, and counts who holds the interpreter (the GIL): that
is what a trainer in the same process has to wait for. What the kernel does for us is not in it, and is told as system
time. py-spy must be on the path; it is part of the extra `bench`.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import pictures, tables
from benchmarks.measure import spread
from benchmarks.processes import RunFailedError, placement, run_program, stub
from benchmarks.scenarios import Common, Pairs, Report, Say
from benchmarks.variants.base import Spec
from benchmarks.variants.identity import wrong

_PACKAGE = "tinker_actors/"
_SETTING_UP = ("importlib", "Client.__init__", "Client.close", "Client.describe", "stub_stats", "on_start")

# The innermost of our files in a stack says what was done; the first line here that fits it has it.
LAYERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("reading results", ("protocol/replies/", "types/sampling", "types/tensors")),
    (
        "building and encoding requests",
        ("types/", "protocol/requests/", "protocol/codec/tokens"),
    ),
    ("JSON, both ways", ("protocol/codec",)),
    ("sample(): checks and budget", ("clients/", "runtime/byte_budget")),
    (
        "futures and their progress",
        ("runtime/futures", "runtime/library_future", "runtime/progress", "runtime/delivery"),
    ),
    ("sockets: send and receive", ("net/connection.py",)),
    ("waking up: epoll, inbox, bell", ("runtime/poller", "runtime/selector_inbox", "runtime/bell", "runtime/actor")),
    ("HTTP, deadlines, connections", ("net/", "runtime/")),
    ("the lane: order, limits, polls", ("actors/", "protocol/")),
    ("the benchmark's own program", ("benchmarks/",)),
)


class Settings(Common, frozen=True, kw_only=True):
    """What is run.

    Attributes:
        levels: samples in flight.
        samples: samples in the profiled wave.
        rate: looks per second.
    """

    pairs: Pairs = 3
    levels: tuple[int, ...] = (64, 400)
    samples: int = 15_000
    rate: int = 400


SETTINGS = Settings()


def run(settings: Settings, say: Say) -> Report:
    """Profile each level several times.

    Raises:
        RunFailedError: py-spy is missing or may not look, or a sample was wrong.
    """
    if shutil.which("py-spy", path=_where()) is None:
        raise RunFailedError("py-spy is not there: install the extra `bench`")
    levels = []
    for n in settings.levels:
        runs = [_profile(n, settings) for _ in range(settings.pairs)]
        say(f"{n} in flight: {sum(one['looks'] for one in runs):,} looks")
        shares = {layer: spread(one["shares"].get(layer, 0.0) for one in runs) for layer, _ in LAYERS}
        times = {kind: spread(one[kind] for one in runs) for kind in ("user", "system")}
        levels.append({"in_flight": n, "shares": shares, **times, "runs": runs})
    return {"settings": msgspec.to_builtins(settings), "levels": levels}


def _where() -> str:
    return str(Path(sys.executable).parent)


def _profile(in_flight: int, settings: Settings) -> dict[str, Any]:
    server_cores, client_cores = placement(pin=settings.pin)
    with stub(where=server_cores) as url, tempfile.TemporaryDirectory() as folder:
        spec = Spec("ours", url, "S", in_flight, settings.samples, in_flight, tuple(client_cores))
        stacks = Path(folder) / "stacks"
        program = [sys.executable, "-m", "benchmarks.variants.run", json.dumps(spec._asdict())]
        look = [f"{_where()}/py-spy", "record", "--gil", "--format", "raw", "--rate", str(settings.rate)]
        result = run_program([*look, "--output", str(stacks), "--", *program])
        counts = layers(stacks.read_text().splitlines())
    fault = wrong("ours", result, samples=settings.samples + in_flight, completions=False)
    if fault or not counts:
        raise RunFailedError(fault or f"py-spy saw nothing:\n{result['stderr']}")
    looks, per = counts.total(), 1000 / settings.samples
    return {
        "shares": {layer: count / looks for layer, count in counts.items()},
        "looks": looks,
        "user": result["figures"]["user_seconds"] * per,
        "system": result["figures"]["system_seconds"] * per,
    }


def layers(stacks: Iterable[str]) -> Counter[str]:
    """Count looks by layer.

    Args:
        stacks: one a line: frames from the outermost to the innermost with `;` between them, a blank, and how often.
            Those of setting up are left out.

    Raises:
        RunFailedError: a frame of ours belongs to no layer.
    """
    counts: Counter[str] = Counter()
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        if not any(part in stack for part in _SETTING_UP):
            ours = [frame for frame in stack.split(";") if _PACKAGE in frame or "benchmarks/" in frame]
            if ours:
                counts[_layer(ours[-1])] += int(count)
    return counts


def _layer(frame: str) -> str:
    file = frame.rpartition("(")[2].rpartition(_PACKAGE)[2]
    for layer, beginnings in LAYERS:
        if file.startswith(beginnings):
            return layer
    raise RunFailedError(f"{frame} belongs to no layer")


def values(report: Report) -> dict[str, float]:  # noqa: ARG001 - what every scenario has
    """Return nothing: there is no target for a share."""
    return {}


def table(report: Report) -> str:
    """Return the shares and the processor time as a table for people."""
    rows = [
        (layer, *(_percent(level["shares"][layer]) for level in report["levels"]))
        for layer in report["levels"][0]["shares"]
    ]
    rows += [
        (f"{kind} CPU s / 1,000 samples", *(tables.cell(level[kind], 3) for level in report["levels"]))
        for kind in ("user", "system")
    ]
    heads = [f"{level['in_flight']:,} in flight" for level in report["levels"]]
    return tables.text(("share of the time in the interpreter", *heads), rows)


def _percent(known: dict[str, float]) -> str:
    return f"{known['median']:.1%} ({known['min']:.1%}..{known['max']:.1%})"


def picture(report: Report, file: Path) -> None:
    """Draw the shares, a group for each layer."""
    series = {f"{level['in_flight']:,} in flight": list(level["shares"].values()) for level in report["levels"]}
    groups = [layer.replace(" ", "\n") for layer, _ in LAYERS]
    pictures.bars(file, "Where the time of a sample goes", "share of the interpreter", groups, series, log=False)
