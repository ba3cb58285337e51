"""Lesson: what the demo does, from starting the server to the verdict.

It is written the way a program of one's own would be; `showing` has everything about the terminal.
"""

from __future__ import annotations

from collections.abc import Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from statistics import fmean

import msgspec

from tinker_actors.cli import pig_latin
from tinker_actors.cli.fine_tuning import fine_tune
from tinker_actors.cli.showing import Example, Stage
from tinker_actors.clients.sampling import SamplingClient
from tinker_actors.clients.service import ServiceClient
from tinker_actors.clients.training import TrainingClient
from tinker_actors.local.process import LocalServer
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.types import SampleResponse, SamplingParams

BASE_MODEL = "local/tiny"
ENDS = 5
"""How many steps at each end of training are averaged when their losses are compared."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of a lesson.

    Attributes:
        steps: optimizer steps.
        trained: words to train on.
        held_out: words that training does not see.
        seed: of the words, their order and the adapter.
        batch: words in a step.
        rank: of the adapter.
        learning_rate: of the first step; half as much again still trains well, three times as much does not.
        in_flight: steps under way at a time.
        threads: that sample.
        samples: at least this many; words are asked again when there are fewer.
        loss_fell: how many times smaller the loss must become.
        accuracy: share of the trained words that must come out right.
    """

    steps: int = 500
    trained: int = 600
    held_out: int = 100
    seed: int = 0
    batch: int = 64
    rank: int = 32
    learning_rate: float = 0.006
    in_flight: int = 3
    threads: int = 16
    samples: int = 200
    loss_fell: float = 5.0
    accuracy: float = 0.8


def teach(plan: Plan, data_dir: Path | None, stage: Stage) -> list[str]:
    """Run the lesson and return what fell short of the plan, a sentence each.

    Args:
        plan: its numbers.
        data_dir: where the server keeps what is saved; None for a folder that goes with it.
        stage: where it is shown.

    Raises:
        TinkerError: something failed.
    """
    trained, held_out = pig_latin.split(pig_latin.read_words(), plan.trained, plan.held_out, plan.seed)
    shown = [*trained[:5], *held_out[:5]]
    with LocalServer(data_dir=data_dir) as server, ServiceClient(base_url=server.url) as service:
        stage.server_is_up(server.url, server.pid)
        trainer = service.create_lora_training_client(BASE_MODEL, rank=plan.rank, seed=plan.seed)
        beginner = trainer.save_weights_and_get_sampling_client()
        before = [ask(beginner, word) for word in shown]
        losses = _train(trainer, trained, plan, stage)
        path = trainer.save_state("pig-latin").result().path
        stage.saved(path, data_dir)
        learned = trainer.save_weights_and_get_sampling_client()
        said = _fan_out(learned, [*trained, *held_out], plan, stage)
        stage.show_examples(
            Example(word, word in trained, pig_latin.completion_text(word), answer(first), said[word])
            for word, first in zip(shown, before, strict=True)
        )
    right = pig_latin.accuracy(trained, [said[word] for word in trained])
    stage.show_loss(*ends(losses), ENDS)
    stage.show_accuracy(
        right, len(trained), pig_latin.accuracy(held_out, [said[word] for word in held_out]), len(held_out)
    )
    return shortcomings(plan, losses, right)


def ask(sampler: SamplingClient, word: str) -> APIFuture[SampleResponse]:
    """Ask for the likeliest continuation of a word's prompt."""
    return sampler.sample(
        pig_latin.prompt(word), 1, SamplingParams(max_tokens=2 * len(word) + 8, temperature=0.0, stop=pig_latin.STOP)
    )


def answer(future: APIFuture[SampleResponse]) -> str:
    """Wait for a continuation and return its text."""
    return pig_latin.decode(future.result().sequences[0].tokens)


def ends(losses: Sequence[float]) -> tuple[float, float]:
    """Return the mean loss of the first and of the last few steps."""
    return fmean(losses[:ENDS]), fmean(losses[-ENDS:])


def shortcomings(plan: Plan, losses: Sequence[float], accuracy: float) -> list[str]:
    """Return what fell short, a sentence each.

    Args:
        plan: what was wanted.
        losses: one per step, in order.
        accuracy: share of the trained words that came out right.
    """
    found = []
    first, last = ends(losses)
    if not last * plan.loss_fell <= first:
        found.append(f"The loss fell from {first:.3f} to {last:.3f}, which is not {plan.loss_fell:g}-fold.")
    if not accuracy >= plan.accuracy:
        found.append(f"{accuracy:.1%} of the trained words came out right, not {plan.accuracy:.0%}.")
    return found


def _train(trainer: TrainingClient, words: Sequence[str], plan: Plan, stage: Stage) -> list[float]:
    batches = pig_latin.batches(words, plan.steps, plan.batch, plan.seed)
    steps = fine_tune(trainer, batches, steps=plan.steps, peak=plan.learning_rate, in_flight=plan.in_flight)
    losses = []
    with stage.training(plan.steps) as progress:
        for step in steps:
            losses.append(step.loss)
            progress.advance(step)
    return losses


def _fan_out(sampler: SamplingClient, words: Sequence[str], plan: Plan, stage: Stage) -> dict[str, str]:
    """Sample every word, from many threads through one client, and return word -> completion."""
    rounds = -(-plan.samples // len(words))
    with stage.sampling(rounds * len(words), plan.threads), ThreadPool(plan.threads) as pool:
        said = pool.map(lambda word: (word, answer(ask(sampler, word))), [*words] * rounds, chunksize=1)
    return dict(said)
