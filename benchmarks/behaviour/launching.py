"""Launching: the stub with a capacity, and clients that may take as long as they are told to, each in a process."""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager
from typing import Any

from benchmarks.processes import run_program, serving

_LONGEST_RUN = 600.0


def stub(**settings: Any) -> AbstractContextManager[str]:
    """Run the stub with these `benchmarks.behaviour.stub.Settings` and give its URL; it ends with the block."""
    return serving([sys.executable, "-m", "benchmarks.behaviour.stub", json.dumps(settings)])


def run_client(module: str, spec: dict[str, Any], *, patience: float = _LONGEST_RUN) -> dict[str, Any]:
    """Run a module of `benchmarks.behaviour.clients` in a fresh process; it gets `spec` as JSON.

    Raises:
        RunFailedError: it failed, or took longer than `patience` seconds.
    """
    module = f"benchmarks.behaviour.clients.{module}"
    return run_program([sys.executable, "-m", module, json.dumps(spec)], patience=patience)
