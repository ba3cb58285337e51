"""Data for tests against the embedded server, whose token ids are bytes."""

from __future__ import annotations

import threading
import time

import tinker_actors as ta


def tokens(text: str) -> list[int]:
    return list(text.encode())


def prompt(text: str) -> ta.ModelInput:
    return ta.ModelInput.from_ints(tokens(text))


def datum(text: str = "hello world") -> ta.Datum:
    ids = tokens(text)
    return ta.Datum(ta.ModelInput.from_ints(ids[:-1]), {"target_tokens": ids[1:], "weights": [1.0] * (len(ids) - 1)})


def bad_datum() -> ta.Datum:
    """A datum that passes every check a client can make and fails in the engine: no such token."""
    return ta.Datum(ta.ModelInput.from_ints([100_000, 5]), {"target_tokens": [5, 6], "weights": [1.0, 1.0]})


def eventually(condition, timeout: float = 30.0) -> None:
    """Wait until `condition()` holds, asking again every few milliseconds."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it never became true"
        pause.wait(0.01)
