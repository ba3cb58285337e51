"""Decoding: whoever reads an answer first decodes it, and the others wait for that."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from typing import Any

from tinker_actors.errors import TinkerError
from tinker_actors.runtime import forks
from tinker_actors.runtime.outcome import Outcome

# One lock of these for each future. Only readers take them, so nobody but another reader waits for one whose holder a
# signal handler has interrupted.
_locks: list[Any] = []
_LOCKS = 64


def _make_locks() -> None:
    _locks[:] = [threading.RLock() for _ in range(_LOCKS)]


_make_locks()
forks.on_fork(_make_locks)  # somebody may have held one


def lock_of(future: object) -> Any:
    """Return the lock under which a future is decoded."""
    return _locks[id(future) // 64 % _LOCKS]


def decoded(outcome: Outcome, decode: Callable[[Any], Any]) -> Outcome:
    """Return an outcome with its value decoded; what `decode` raises becomes its error."""
    state, value, error = outcome
    try:
        value = decode(value)
    except Exception as failure:  # whatever the answer holds, it is this future's failure
        if not isinstance(failure, TinkerError):  # a defect: its place as text, because frames hold the future
            failure.add_note("".join(traceback.format_tb(failure.__traceback__)))
        value, error = None, failure.with_traceback(None)
    return state, value, error
