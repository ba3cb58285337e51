"""Idempotency keys: what a request that is sent again repeats, so that a proxy or server can recognise it."""

from __future__ import annotations

import itertools
import os

from tinker_actors.runtime.forks import on_fork

_prefix = ""
_numbers = itertools.count()


def idempotency_key() -> str:
    """Return a key that no other request has, in this process or another. Thread-safe."""
    return f"{_prefix}{next(_numbers)}"


def _new_prefix() -> None:
    global _prefix  # noqa: PLW0603 - a forked child has the counter too, and must not repeat its parent's keys
    _prefix = f"tinker-actors-{os.urandom(8).hex()}-"


_new_prefix()
on_fork(_new_prefix)
