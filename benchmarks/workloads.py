"""Workloads: the prompts that are asked and the answers that the stub gives.

Stub and clients build the same answers from the same seed, so that every client can check that each sample got the
answer to its own prompt.
"""

from __future__ import annotations

import random
from typing import NamedTuple

VOCABULARY = 150_000
"""Token ids are drawn below this: five to six digits each, as in real vocabularies."""


class Workload(NamedTuple):
    """The sizes of one kind of sample.

    Attributes:
        name: as it is given on the command line.
        prompt_tokens: tokens in each prompt.
        result_tokens: tokens, and as many logprobs, in each sequence of an answer.
        num_samples: sequences in each answer.
        variety: how many different prompts and answers there are.
    """

    name: str
    prompt_tokens: int
    result_tokens: int
    num_samples: int = 1
    variety: int = 64


WORKLOADS: dict[str, Workload] = {
    "S": Workload("S", 1_024, 512),
    "L": Workload("L", 16_384, 2_048, 4, 8),
}


class Answer(NamedTuple):
    """What the stub answers to one prompt: for each sequence, its tokens and their logprobs."""

    tokens: list[list[int]]
    logprobs: list[list[float]]


def prompts(workload: Workload) -> list[list[int]]:
    """Return the prompts. The first token of prompt `i` is `i`: the stub tells them apart by it."""
    rng = random.Random(1)
    return [[i, *rng.choices(range(VOCABULARY), k=workload.prompt_tokens - 1)] for i in range(workload.variety)]


def answers(workload: Workload) -> list[Answer]:
    """Return the answer to each of the prompts. Logprobs have a double's full digits, as JSON servers send them."""
    rng = random.Random(2)
    size, count = workload.result_tokens, workload.num_samples
    return [
        Answer(
            [rng.choices(range(VOCABULARY), k=size) for _ in range(count)],
            [[-rng.expovariate(1.0) for _ in range(size)] for _ in range(count)],
        )
        for _ in range(workload.variety)
    ]
