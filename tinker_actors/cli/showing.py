"""Showing: what the demo writes to the terminal, or as plain lines to anything else."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tinker_actors.cli.fine_tuning import Step

LINES = 10
"""How many plain lines stand for a progress bar."""

WIDTH = 24
"""Characters of a completion that are shown."""


class Example(msgspec.Struct, frozen=True):
    """What the model made of one word, before and after training."""

    word: str
    trained: bool
    wanted: str
    before: str
    after: str


class Training:
    """How far training is.

    Args:
        console: where it is shown.
        steps: how many there will be.
        bar: a running progress bar with `facts`; None to write lines.
    """

    def __init__(self, console: Console, steps: int, bar: Progress | None) -> None:
        self._console = console
        self._steps = steps
        self._bar = bar
        self._task = None if bar is None else bar.add_task("Training", total=steps, facts="")
        self._tokens = 0
        self._began = time.perf_counter()

    def advance(self, step: Step) -> None:
        """Show a finished step."""
        self._tokens += step.tokens
        speed = self._tokens / (time.perf_counter() - self._began)
        facts = f"loss {step.loss:.4f} per token, {speed:,.0f} tokens/s"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=step.number, facts=facts)
        elif step.number * LINES // self._steps > (step.number - 1) * LINES // self._steps:
            self._console.print(f"  step {step.number:>4} of {self._steps}: {facts}")


class Stage:
    """Where a lesson is shown.

    Args:
        console: the terminal or file; None for stdout.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._began = time.perf_counter()

    def server_is_up(self, url: str, pid: int) -> None:
        """Say where the server is."""
        self._console.print(f"Embedded server: {url}, process {pid}")

    @contextlib.contextmanager
    def training(self, steps: int) -> Iterator[Training]:
        """Show training, as a bar on a terminal and as lines elsewhere."""
        if not self._console.is_terminal:
            self._console.print(f"Training, {steps} steps:")
            yield Training(self._console, steps, None)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=WIDTH),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console) as bar:
            yield Training(self._console, steps, bar)

    def saved(self, path: str, data_dir: Path | None) -> None:
        """Say where the weights are, and how to come back to them if they stay."""
        self._console.print(f"Weights saved: {escape(path)}", soft_wrap=True)
        if data_dir is not None:
            folder = escape(str(data_dir))
            self._console.print(f"  They stay: tinker-actors serve --data-dir {folder}", soft_wrap=True)

    @contextlib.contextmanager
    def sampling(self, samples: int, threads: int) -> Iterator[None]:
        """Say how long the samples took."""
        began = time.perf_counter()
        yield
        seconds = time.perf_counter() - began
        self._console.print(f"Sampling: {samples} samples by {threads} threads in {seconds:.1f} s")

    def show_examples(self, examples: Iterable[Example]) -> None:
        """Show some words before and after."""
        table = Table("prompt", "before", "after", "", "word")
        for one in examples:
            mark = "right" if one.after == one.wanted else "wrong"
            table.add_row(
                escape(f"{one.word} =>"), _visible(one.before), _visible(one.after), mark,
                "trained" if one.trained else "held out",
            )  # fmt: skip
        self._console.print(table)

    def show_loss(self, first: float, last: float, steps: int) -> None:
        """Show how far the loss fell."""
        self._console.print(f"Loss per token: {first:.3f} in the first {steps} steps, {last:.4f} in the last")

    def show_accuracy(self, trained: float, trained_words: int, held_out: float, held_out_words: int) -> None:
        """Show which share of the words came out right to the last character."""
        self._console.print(f"Exactly right: {trained:.1%} of {trained_words} trained words")
        self._console.print(
            f"               {held_out:.1%} of {held_out_words} held-out words, which training never saw"
        )

    def verdict(self, shortcomings: Sequence[str]) -> int:
        """Say how it went and return the exit status."""
        seconds = time.perf_counter() - self._began
        for sentence in shortcomings:
            self._console.print(f"FAILED: {sentence}")
        if not shortcomings:
            self._console.print(f"Done in {seconds:.1f} s.")
        return 1 if shortcomings else 0


def _visible(text: str) -> str:
    """Return text for a table cell, cut to its width: an untrained model says bytes of any kind."""
    return escape("".join(c if c.isascii() and c.isprintable() else "?" for c in text.strip())[:WIDTH])
