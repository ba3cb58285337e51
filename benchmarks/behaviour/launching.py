"""Launching: the stub with a capacity, and clients that may take as long as they are told to, each in a process."""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager
from typing import Any

from benchmarks import processes
from benchmarks.processes import run_program

_LONGEST_RUN = 600.0


def stub(*, cores: list[int] | None = None, **settings: Any) -> AbstractContextManager[str]:
    """Run the stub with these `benchmarks.stub.limited.Settings` and give its URL; it ends with the block."""
    return processes.stub("--limited", json.dumps(settings), where=cores)


def run_client(module: str, spec: dict[str, Any], *, patience: float = _LONGEST_RUN) -> dict[str, Any]:
    """Run a module of `benchmarks.behaviour.clients` in a fresh process; it gets `spec` as JSON.

    Raises:
        RunFailedError: it failed, or took longer than `patience` seconds.
    """
    module = f"benchmarks.behaviour.clients.{module}"
    return run_program([sys.executable, "-m", module, json.dumps(spec)], patience=patience)
