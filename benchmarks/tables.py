"""Tables for people: text columns, medians with their spread."""

from __future__ import annotations

from collections.abc import Sequence

NOTE = "Medians (smallest..largest); CPU is user + system time of the client process; ratios are taken within rounds."


def text(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows under a head, every column as wide as its widest cell and aligned right."""
    everything = [tuple(head), *map(tuple, rows)]
    widths = [max(len(row[column]) for row in everything) for column in range(len(head))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in everything]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def cell(values: dict[str, float], digits: int) -> str:
    """Return a median with its smallest and largest value; just the value where there is only one."""
    middle = f"{values['median']:,.{digits}f}"
    if values["min"] == values["max"]:
        return middle
    return f"{middle} ({values['min']:,.{digits}f}..{values['max']:,.{digits}f})"
