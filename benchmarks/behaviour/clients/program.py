"""What all the measured clients have in common: a spec as JSON comes in, a result as JSON goes out as the last line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import msgspec

import tinker_actors as ta

PROMPT = 32
"""Tokens in each prompt: what is measured is not how much they weigh."""
GIVE_UP = 120.0
"""Seconds after which a client that waits for one result gives up."""


def main(run: Callable[[Any], dict[str, Any]], kind: type) -> None:
    """Decode the spec, move to its cores, run, and print the result."""
    spec = msgspec.json.decode(sys.argv[1], type=kind)
    if spec.cores:
        os.sched_setaffinity(0, spec.cores)
    print(msgspec.json.encode(run(spec)).decode())


def prompt(number: int) -> ta.ModelInput:
    """Return a prompt; its first token tells whose it is."""
    return ta.ModelInput.from_ints([number % 997, *range(PROMPT - 1)])


def first_token(number: int) -> int:
    """Return the first token of `prompt(number)`."""
    return number % 997
