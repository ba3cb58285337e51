"""Engine: the embedded server's tokens per second beside transformers and PyTorch; see `engine`, which measures it."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from benchmarks import pictures
from benchmarks.scenarios import Pairs, Report, Say, engine


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What is run.

    Attributes:
        pairs: rounds of all variants.
        peer_python: an interpreter that has torch and transformers.
        seconds: how long each measurement goes on at least.
    """

    pairs: Pairs = 5
    peer_python: str = sys.executable
    seconds: float = 2.0


SETTINGS = Settings()


def run(settings: Settings, say: Say) -> Report:
    """Run all rounds; see `engine.run`."""
    return engine.run(engine.Settings(settings.peer_python, settings.pairs, settings.seconds), say)


def values(report: Report) -> dict[str, float]:
    """Return our rate over the best peer's, for each measurement."""
    return {name: known["ratio"]["median"] for name, known in report["summary"].items()}


def table(report: Report) -> str:
    """Return the summary as a table for people."""
    note = "Medians (smallest..largest); the ratio is taken in rounds, against the faster of the peer's variants."
    return f"{engine.table(report)}\n{note}"


def picture(report: Report, file: Path) -> None:
    """Draw the rates."""
    summary = report["summary"]
    names = list(next(iter(summary.values()))["rates"])
    series = {name: [known["rates"][name] for known in summary.values()] for name in names}
    pictures.bars(file, "The embedded server's engine beside PyTorch", "tokens per second", list(summary), series)
