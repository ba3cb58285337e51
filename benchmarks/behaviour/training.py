"""Training: the client's CPU for one step, ours beside the official SDK.

A step is: build the datums, `forward_backward` with target tokens and weights, `optim_step`, and read every logprob.
From numpy arrays the logprobs are read as arrays, from Python lists as lists. What it costs to make lists of them is
measured in both, since making half a million Python floats takes everybody the same time. Both packages run the same
program, each in a fresh process against a fresh stub that answers either dialect, in pairs of alternating order.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import tables
from benchmarks.behaviour import showing
from benchmarks.behaviour.launching import stub
from benchmarks.measure import ROOT, spread
from benchmarks.processes import RunFailedError, placement, run_program, stub_stats
from benchmarks.scenarios import Common, Report, Say

OURS, OFFICIAL = "tinker_actors", "tinker"
PARTS = ("build", "submit and wait", "read")
LISTS = "read as lists"
INPUTS = ("numpy", "lists")


class Settings(Common, frozen=True, kw_only=True):
    """What is run.

    Attributes:
        datums: datums in a step.
        tokens: tokens in a datum.
        steps: measured steps in each run, after one that is not measured.
        inputs: what datums are built from: which of `INPUTS`.
        beside: run the official SDK too; without it there is nothing to judge by.
    """

    datums: int = 256
    tokens: int = 2_048
    steps: int = 7
    inputs: tuple[str, ...] = INPUTS
    beside: bool = True


SETTINGS = Settings()


def run(settings: Settings, say: Say) -> Report:
    """Run the pairs and return settings, every run, and the summary for each kind of input.

    Raises:
        RunFailedError: a process failed, or a step was not what it should be.
    """
    packages = (OURS, OFFICIAL) if settings.beside else (OURS,)
    levels = []
    for inputs in settings.inputs:
        pairs = []
        for index in range(settings.pairs):
            order = packages if index % 2 == 0 else packages[::-1]
            pair = {package: _run_one(package, inputs, settings) for package in order}
            pairs.append(pair)
            told = ", ".join(f"{package} {pair[package]['total']:.1f}" for package in packages)
            say(f"from {inputs}, pair {index + 1} of {settings.pairs}: CPU ms per step: {told}")
        levels.append({"inputs": inputs, "summary": summarize(pairs), "pairs": pairs})
    return {"settings": msgspec.to_builtins(settings), "levels": levels}


def _run_one(package: str, inputs: str, settings: Settings) -> dict[str, Any]:
    server_cores, client_cores = placement(pin=settings.pin)
    with stub(cores=server_cores) as url:
        spec = {
            "package": package,
            "url": url,
            "cores": client_cores,
            "datums": settings.datums,
            "tokens": settings.tokens,
            "inputs": inputs,
            "steps": settings.steps,
        }
        result = _run_program(package, spec, settings)
        server = stub_stats(url)
    _check(package, result, server, settings)
    steps = [step[: len(PARTS)] for step in result["steps"]]
    parts = {name: showing.median(step[index] for step in steps) for index, name in enumerate(PARTS)}
    passes = settings.steps + 1
    return {
        "parts": parts,
        LISTS: showing.median(step[-1] for step in result["steps"]),
        "total": showing.median(sum(step) for step in steps),
        "cheapest": min(sum(step) for step in steps),
        "first": sum(result["first"][: len(PARTS)]),
        "megabytes_sent": server["training"]["bytes"] / passes / 1e6,
        "requests": server["requests"]["forward_backward"] / passes,
        "dialect": [name for name in server["training"] if name.startswith("passes as ")],
        "client": result["client"],
    }


def _run_program(package: str, spec: dict[str, Any], settings: Settings) -> dict[str, Any]:
    python = settings.official_python if package == OFFICIAL else sys.executable
    quiet = {"TINKER_TELEMETRY": "0", "TINKER_API_KEY": "tml-stub"}  # the official SDK insists on a key
    if package == OURS:
        quiet["PYTHONPATH"] = str(ROOT)
    program = ROOT / "benchmarks" / "behaviour" / "clients" / "train_step.py"
    return run_program([python, str(program), json.dumps(spec)], extra=quiet)


def _check(package: str, result: dict[str, Any], server: dict[str, Any], settings: Settings) -> None:
    """Refuse a run by another package than it should be, or one that did other work."""
    size, passes = settings.datums * settings.tokens, settings.steps + 1
    taken = server["training"]
    if not result["client"].startswith(f"{package}."):
        raise RunFailedError(f"{package} is really {result['client']}")
    if (taken["target tokens"], taken["datums"]) != (size * passes, settings.datums * passes) or result["read"] != size:
        raise RunFailedError(f"{package}: {result['read']} logprobs were read; the server saw {taken}")


def summarize(pairs: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return the spread of the cost per step and of its parts, and of the ratio within the pairs."""
    summary: dict[str, Any] = {
        package: {
            "total": spread(pair[package]["total"] for pair in pairs),
            "parts": {name: spread(pair[package]["parts"][name] for pair in pairs) for name in PARTS},
            LISTS: spread(pair[package][LISTS] for pair in pairs),
        }
        for package in pairs[0]
    }
    if OFFICIAL in pairs[0]:
        summary["ratio"] = spread(pair[OURS]["total"] / pair[OFFICIAL]["total"] for pair in pairs)
    return summary


def values(report: Report) -> dict[str, float]:
    """Return the ratio for each kind of input."""
    return {
        level["inputs"]: level["summary"]["ratio"]["median"]
        for level in report["levels"]
        if "ratio" in level["summary"]
    }


def table(report: Report) -> str:
    """Return the summary as a table for people."""
    rows = []
    for level in report["levels"]:
        for package, known in level["summary"].items():
            if package not in (OURS, OFFICIAL):
                continue
            ratio = level["summary"].get("ratio") if package == OURS else None
            parts = [tables.cell(known["parts"][name], 1) for name in PARTS]
            first = level["pairs"][0][package]
            sent = f"{first['megabytes_sent']:.1f} in {first['requests']:.0f}"
            total, lists = tables.cell(known["total"], 1), tables.cell(known[LISTS], 1)
            beside = "" if ratio is None else tables.cell(ratio, 2)
            rows.append((level["inputs"], package, *parts, total, beside, sent, lists))
    return tables.text(("inputs", "client", *PARTS, "CPU ms per step", "ours / official", "MB sent", LISTS), rows)


def picture(report: Report, file: Path) -> None:
    """Draw the parts of a step's cost, stacked."""
    figure, axes = showing.canvas(len(report["levels"]))
    colours = dict(zip(PARTS, ("#8fb8d4", showing.OURS, "#0d2f47"), strict=True))
    for axis, level in zip(axes[0], report["levels"], strict=True):
        packages = [name for name in (OFFICIAL, OURS) if name in level["summary"]]
        below = [0.0] * len(packages)
        for name in PARTS:
            heights = [level["summary"][package]["parts"][name]["median"] for package in packages]
            axis.bar(packages, heights, 0.5, bottom=below, color=colours[name], label=name)
            below = [low + height for low, height in zip(below, heights, strict=True)]
        axis.set(title=f"from {level['inputs']}", ylabel="CPU ms per step")
        axis.legend(frameon=False)
    showing.save(figure, file)
