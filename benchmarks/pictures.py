"""Pictures: SVG files by matplotlib, which is imported only when one is drawn (extra `bench`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

COLOURS = ("#1f6f8b", "#d1495b", "#edae49", "#66a182", "#8d96a3")
_SIZE = (8.0, 4.2)

Spread = Mapping[str, float]
"""Median, smallest and largest."""


def bars(
    file: Path,
    heading: str,
    label: str,
    groups: Sequence[str],
    series: Mapping[str, Sequence[Spread]],
    log: bool = True,
) -> None:
    """Draw groups of bars with whiskers from smallest to largest, the medians written on them.

    Args:
        file: where the SVG goes.
        heading: above the picture.
        label: of the axis, with its unit.
        groups: names of the groups.
        series: for each kind of bar its values, one for each group.
        log: let equal ratios be equal distances.
    """
    plot, axes = _axes(heading, label)
    width = 0.8 / len(series)
    for index, (name, spreads) in enumerate(series.items()):
        places = [group - 0.4 + width * (index + 0.5) for group in range(len(groups))]
        middles = [one["median"] for one in spreads]
        whiskers = [[one["median"] - one["min"] for one in spreads], [one["max"] - one["median"] for one in spreads]]
        drawn = axes.bar(
            places, middles, width * 0.92, label=name, color=COLOURS[index % len(COLOURS)],
            yerr=whiskers, error_kw={"elinewidth": 0.8, "ecolor": "#444444"},
        )  # fmt: skip
        axes.bar_label(drawn, [_short(value) for value in middles], fontsize=6.5, padding=1)
    axes.set_xticks(range(len(groups)), groups)
    if log:
        _logarithmic(axes)
    _finish(plot, axes, file)


def lines(
    file: Path, heading: str, label: str, across: str, series: Mapping[str, tuple[Sequence[float], Sequence[Spread]]]
) -> None:
    """Draw lines over logarithmic axes, with the range from smallest to largest shaded.

    Args:
        file: where the SVG goes.
        heading: above the picture.
        label: of the upright axis, with its unit.
        across: of the other axis.
        series: for each line its places on that axis and its values there.
    """
    plot, axes = _axes(heading, label)
    ticks: set[float] = set()
    for index, (name, (places, spreads)) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        axes.plot(places, [one["median"] for one in spreads], marker="o", label=name, color=colour)
        axes.fill_between(
            places, [one["min"] for one in spreads], [one["max"] for one in spreads], alpha=0.2, color=colour
        )
        ticks.update(places)
    axes.set_xscale("log")
    _logarithmic(axes)
    axes.set_xticks(sorted(ticks), [f"{place:,g}" for place in sorted(ticks)], minor=False)
    axes.set_xticks([], minor=True)
    axes.set_xlabel(across, fontsize=8)
    _finish(plot, axes, file)


def _axes(heading: str, label: str) -> tuple[Any, Any]:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = heading  # the same figures give the same file
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=_SIZE)
    axes.set_title(heading, fontsize=10)
    axes.set_ylabel(label, fontsize=8)
    return figure, axes


def _logarithmic(axes: Any) -> None:
    """Let the upright axis be logarithmic, with plain numbers at 1, 2 and 5."""
    from matplotlib import ticker

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())


def _finish(figure: Any, axes: Any, file: Path) -> None:
    from matplotlib import pyplot as plt

    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(fontsize=7, frameon=False)
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, format="svg", metadata={"Date": None})
    plt.close(figure)


def _short(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
