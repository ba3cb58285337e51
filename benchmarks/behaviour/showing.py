"""Showing: percentiles, and what the pictures of behaviour have in common."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

OURS, OTHER, MARK = "#1f5f8b", "#b0b7bd", "#c0392b"
"""Colours: what is judged, what it is judged beside, and the line it must not cross."""


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of the values lies; nan when there are none."""
    if not values:
        return float("nan")
    return sorted(values)[min(len(values) - 1, round(share * (len(values) - 1)))]


def median(values: Iterable[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def canvas(columns: int, *, height: float = 3.4) -> tuple[Any, Any]:
    """Return a matplotlib figure and its axes, in a row."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    return plt.subplots(1, columns, figsize=(4.2 * columns, height), squeeze=False, layout="constrained")


def save(figure: Any, file: Path) -> None:
    """Write a figure as SVG, the same bytes for the same content."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = file.name
    figure.savefig(file, format="svg", metadata={"Date": None})
    plt.close(figure)
