"""`tinker-actors demo`: watch a model being fine-tuned and sampled on an embedded server."""

from __future__ import annotations

from pathlib import Path

import click

from tinker_actors.cli.extras import require
from tinker_actors.local.launching import EXTRA


@click.command(context_settings={"show_default": True})
@click.option("--steps", type=click.IntRange(1), default=500, help="Optimizer steps.")
@click.option("--words", type=click.IntRange(1), default=600, help="Words to train on; a hundred others are held out.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, help="Chooses the words, their order and the adapter's start."
)
@click.option(
    "--keep-data",
    "data_dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep the saved weights in DIR.",
)
def demo(steps: int, words: int, seed: int, data_dir: Path | None) -> int:
    """Teach Pig Latin to a small model, with no key, GPU or network.

    Starts the embedded server in a process of its own, trains a LoRA adapter on its base model local/tiny, saves the
    weights, samples every word from 16 threads, and stops the server.

    Exit status 0 only if the loss fell at least five-fold and at least 80 % of the trained words came out right.
    """
    require(EXTRA)
    from tinker_actors.cli.lesson import Plan, teach  # noqa: PLC0415 - loads the clients
    from tinker_actors.cli.pig_latin import read_words  # noqa: PLC0415 - the same
    from tinker_actors.cli.showing import Stage  # noqa: PLC0415 - loads rich

    plan = Plan(steps=steps, trained=words, seed=seed)
    most = len(read_words()) - plan.held_out
    if words > most:
        raise click.BadParameter(f"there are {most} words to train on", param_hint="--words")
    stage = Stage()
    shortcomings = teach(plan, data_dir, stage)
    return stage.verdict(shortcomings)
