"""What the other processes of `test_processes` do. Imported by its own name, which a spawned process can do too."""

from __future__ import annotations

import os

import tinker_actors as ta

HANG = 60.0
GREEDY = {"max_tokens": 4, "temperature": 0.0, "stop": []}


def prompt(text: str) -> ta.ModelInput:
    return ta.ModelInput.from_ints(list(text.encode()))


def continued(task):
    """Sample with a client that came as an argument; return the tokens, who did it, and as which copy."""
    client, text = task
    response = client.sample(prompt(text), 1, GREEDY).result(HANG)
    return response.sequences[0].tokens, os.getpid(), client._lease.entry().clone_id


def continued_by_handle(task):
    """The same with a handle."""
    handle, text = task
    return continued((ta.SamplingClient.from_sampler_handle(handle), text))


def fails(task):
    """Return the class name of what a sample fails with."""
    client, text = task
    return type(client.sample(prompt(text), 1, GREEDY).exception(HANG)).__name__


def samples_until_it_fails(client, pipe):
    """Sample until the session ends, saying when the first one is done."""
    continued((client, "first"))
    pipe.send("sampling")
    error = None
    while error is None:
        error = client.sample(prompt("more"), 1, {"max_tokens": 30, "stop": []}).exception(HANG)
    late = client.sample(prompt("late"), 1, GREEDY).exception(HANG)
    pipe.send((type(error).__name__, type(late).__name__))
