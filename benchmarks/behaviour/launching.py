"""Launching: the stub with a capacity, and clients that may take as long as they are told to, each in a process."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from benchmarks.measure import ROOT
from benchmarks.processes import RunFailedError, _environment

_PATIENCE_AT_THE_END = 10.0
_LONGEST_RUN = 600.0


@contextlib.contextmanager
def stub(**settings: Any) -> Iterator[str]:
    """Run the stub with these `benchmarks.behaviour.stub.Settings` and give its URL; it ends with the block.

    Raises:
        RunFailedError: it did not start.
    """
    command = [sys.executable, "-m", "benchmarks.behaviour.stub", msgspec.json.encode(settings).decode()]
    server = subprocess.Popen(
        command, cwd=ROOT, env=_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        port = server.stdout.readline().strip()
        if not port:
            raise RunFailedError("the stub server did not start; it says why on standard error")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stdin.close()
        try:
            server.wait(_PATIENCE_AT_THE_END)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        server.stdout.close()


def run_client(module: str, spec: dict[str, Any], *, patience: float = _LONGEST_RUN) -> dict[str, Any]:
    """Run a module of `benchmarks.behaviour.clients` in a fresh process; it gets `spec` as JSON.

    Raises:
        RunFailedError: it failed, or took longer than `patience` seconds.
    """
    command = [sys.executable, "-m", f"benchmarks.behaviour.clients.{module}"]
    return run_program([*command, msgspec.json.encode(spec).decode()], patience=patience)


def run_program(
    command: Sequence[str], *, patience: float = _LONGEST_RUN, environment: dict[str, str] | None = None
) -> dict[str, Any]:
    """Run a program whose last line of output is its result, as JSON.

    Args:
        command: the program and its arguments.
        patience: seconds that it may take.
        environment: what it finds in its environment besides the usual.

    Returns:
        The result; what it wrote to standard error is its `stderr`.

    Raises:
        RunFailedError: it could not be started, failed, or took too long.
    """
    shown = " ".join(command)
    try:
        done = subprocess.run(
            command, cwd=ROOT, env={**_environment(), **(environment or {})}, capture_output=True, text=True,
            timeout=patience, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunFailedError(f"{shown}: {error}") from error
    if done.returncode:
        raise RunFailedError(f"{shown} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    result: dict[str, Any] = msgspec.json.decode(done.stdout.splitlines()[-1])
    result["stderr"] = done.stderr
    return result
