r"""Pig Latin: the demo's task, as pure functions.

A word's beginning moves to its end: `word =>` is to be continued by ` ordway\n`. The base model `local/tiny` knows
nothing, its tokens are bytes, and the task has a right answer for every word, so one can see what was learned.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from importlib import resources

from tinker_actors.types import Datum, ModelInput

VOWELS = "aeiou"
STOP = "\n"
BYTES = 256
"""Token ids below this are bytes; those above are special tokens."""


def read_words() -> list[str]:
    """Return the words that come with the package, in alphabetical order."""
    return resources.files("tinker_actors.cli").joinpath("data/words.txt").read_text("ascii").split()


def to_pig_latin(word: str) -> str:
    """Translate a lower-case word.

    A word that begins with a vowel gets `way`. Otherwise everything before the first vowel moves to the end and `ay`
    follows; `y` is a vowel except at the beginning, and `qu` is not torn apart.
    """
    if word[0] in VOWELS:
        return f"{word}way"
    end = 1
    while end < len(word) and word[end] not in VOWELS + "y":
        end += 1
    if word[end - 1 : end + 1] == "qu":
        end += 1
    return f"{word[end:]}{word[:end]}ay"


def prompt_text(word: str) -> str:
    """Return what the model is given."""
    return f"{word} =>"


def completion_text(word: str) -> str:
    """Return what the model is to answer, newline included."""
    return f" {to_pig_latin(word)}{STOP}"


def encode(text: str) -> list[int]:
    """Return the token ids of a text under the vocabulary of `local/tiny`: its UTF-8 bytes."""
    return list(text.encode())


def decode(tokens: Sequence[int]) -> str:
    """Return the text of token ids; what is no text, special tokens included, becomes U+FFFD."""
    return bytes(token if token < BYTES else 0xFF for token in tokens).decode(errors="replace")


def prompt(word: str) -> ModelInput:
    """Return the prompt of a word as model input."""
    return ModelInput.from_ints(encode(prompt_text(word)))


def datum(word: str) -> Datum:
    """Return the training example of a word.

    Position i predicts token i + 1. The loss counts where the target belongs to the completion and nowhere else.
    """
    given, wanted = encode(prompt_text(word)), encode(completion_text(word))
    tokens = given + wanted
    weights = [0.0] * (len(given) - 1) + [1.0] * len(wanted)
    return Datum(ModelInput.from_ints(tokens[:-1]), {"target_tokens": tokens[1:], "weights": weights})


def split(words: Sequence[str], trained: int, held_out: int, seed: int) -> tuple[list[str], list[str]]:
    """Shuffle words and return some to train on and others that training never sees.

    Raises:
        ValueError: there are not that many words.
    """
    if trained + held_out > len(words):
        raise ValueError(f"There are {len(words)} words, not {trained} + {held_out}.")
    shuffled = random.Random(seed).sample(list(words), trained + held_out)  # noqa: S311 - no secret
    return shuffled[:trained], shuffled[trained:]


def batches(words: Sequence[str], count: int, size: int, seed: int) -> Iterator[list[str]]:
    """Yield `count` batches of `size` words; every word comes once before any comes again."""
    source = random.Random(seed)  # noqa: S311 - no secret
    waiting: list[str] = []
    for _ in range(count):
        while len(waiting) < size:
            waiting += source.sample(list(words), len(words))
        yield waiting[:size]
        del waiting[:size]


def accuracy(words: Sequence[str], completions: Sequence[str]) -> float:
    """Return the share of words, 0 to 1, whose completion is right to the last character."""
    return sum(completion_text(word) == said for word, said in zip(words, completions, strict=True)) / len(words)
