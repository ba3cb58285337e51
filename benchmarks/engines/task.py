"""The task that every engine is given, with the standard library alone: a peer's environment may have little else."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

PROMPT_TOKENS = 16
NEW_TOKENS = 128
CHECKED_TOKENS = 12
"""Tokens drawn greedily in the comparison of the models. The later ones of a random model hang by a hair."""


class Task(NamedTuple):
    """What is measured.

    Attributes:
        weights: `.npz` file with the weights by their Hugging Face names.
        config: the model's shape, as the fields of a Llama `config.json`.
        rank: rank of the LoRA matrices, on every projection and the unembedding.
        sequences: sequences in a training step.
        length: tokens of each.
        levels: sequences that are continued at once, one measurement each.
        seconds: how long each measurement goes on at least.
        cores: the processors to run on.
        threads: threads for a matrix product.
    """

    weights: str
    config: dict[str, Any]
    rank: int
    sequences: int
    length: int
    levels: list[int]
    seconds: float
    cores: list[int]
    threads: int


class Engine(Protocol):
    """An engine with the model loaded."""

    def step(self, rows: list[list[int]]) -> float:
        """Do forward, backward and an AdamW step on rows of tokens, and return the loss, a sum over tokens."""
        ...

    def sample(self, prompts: list[list[int]], new_tokens: int, temperature: float) -> list[list[int]]:
        """Continue prompts, all at once and for exactly so many tokens."""
        ...

    def describe(self) -> dict[str, Any]:
        """Say what ran."""
        ...


def measure(task: Task, engine: Engine) -> dict[str, Any]:
    """Return the rates of an engine, in tokens per second, and what shows that it had the right model."""
    rng = random.Random(1)
    rows = [rng.choices(range(256), k=task.length + 1) for _ in range(task.sequences)]
    prompts = [rng.choices(range(256), k=PROMPT_TOKENS) for _ in range(max(task.levels))]
    greedy = engine.sample(prompts[:4], CHECKED_TOKENS, 0.0)
    loss = engine.step(rows)
    trained = task.sequences * task.length
    rates = {"train": trained * _per_second(task.seconds, lambda: engine.step(rows))}
    for level in task.levels:
        drawn = level * NEW_TOKENS
        per_second = _per_second(task.seconds, lambda level=level: engine.sample(prompts[:level], NEW_TOKENS, 1.0))
        rates[f"sample {level}"] = drawn * per_second
    return {"rates": rates, "greedy": greedy, "loss": loss, "described": engine.describe()}


def _per_second(seconds: float, work: Callable[[], object]) -> float:
    work()  # warms up: memory, and kernels that are chosen at first use
    count, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        work()
        count += 1
    return count / passed


def main(load: Callable[[Task], Engine]) -> None:
    """Run the task that is the only argument; the last line of output is the result."""
    task = Task(**json.loads(sys.argv[1]))
    os.sched_setaffinity(0, task.cores)
    print(json.dumps(measure(task, load(task))))
