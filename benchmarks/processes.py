"""Processes: the stub and the clients that are measured, each in a fresh interpreter, each on a core of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.measure import ROOT, cores

_LONGEST_RUN = 600.0
_PATIENCE_AT_THE_END = 10.0


class RunFailedError(RuntimeError):
    """A measured process did not come to its end; the message holds what it wrote."""


def environment() -> dict[str, str]:
    """Return the environment without what would change a client's configuration behind the benchmark's back.

    Byte code is written, as it is for what pip installs: else a client in this checkout would be compiled with every
    start, beside one that never is.
    """
    kept = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
    return {
        name: value
        for name, value in kept.items()
        if not name.startswith("TINKER_") and name != "PYTHONDONTWRITEBYTECODE"
    }


def placement(*, pin: bool) -> tuple[list[int], list[int]]:
    """Return the cores of the server and of the client: one each if there are two, else whatever there is."""
    usable = cores()
    if not pin or len(usable) < 2:
        return usable, usable
    return usable[:1], usable[1:2]


@contextlib.contextmanager
def serving(command: Sequence[str], scheme: str = "http") -> Iterator[str]:
    """Run a server that prints its port and ends with its standard input; give its URL.

    Raises:
        RunFailedError: it did not start.
    """
    server = subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        port = server.stdout.readline().strip()
        if not port:
            raise RunFailedError("the stub server did not start; it says why on standard error")
        yield f"{scheme}://127.0.0.1:{port}"
    finally:
        server.stdin.close()
        try:
            server.wait(_PATIENCE_AT_THE_END)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        server.stdout.close()


def stub(*arguments: str, where: list[int] | None) -> contextlib.AbstractContextManager[str]:
    """Run a stub server on these cores, or all, and give its URL; it ends with the block."""
    pinned = ["--cores", *map(str, where)] if where else []
    command = [sys.executable, "-m", "benchmarks.stub", *arguments, *pinned]
    return serving(command, "https" if "--tls" in arguments else "http")


def run_program(
    command: Sequence[str], *, patience: float = _LONGEST_RUN, extra: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run a program whose last line of JSON is its result; a profiler that runs it may add lines of its own.

    Args:
        command: the program and its arguments.
        patience: seconds that it may take.
        extra: what it finds in its environment besides the usual.

    Returns:
        The result; what it wrote to standard error is its `stderr`.

    Raises:
        RunFailedError: it could not be started, failed, or took too long.
    """
    shown = " ".join(command)
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment() | dict(extra or {}), capture_output=True, text=True,
            timeout=patience, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunFailedError(f"{shown}: {error}") from error
    if done.returncode:
        raise RunFailedError(f"{shown} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    found = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not found:
        raise RunFailedError(f"{shown} gave no result:\n{done.stdout}{done.stderr}")
    result: dict[str, Any] = json.loads(found[-1])
    result["stderr"] = done.stderr
    return result


def run_client(module: str, spec: dict[str, Any], python: str | None = None) -> dict[str, Any]:
    """Run a client: it gets `spec` as JSON, moves to the cores named there, and answers with JSON on its last line.

    Args:
        module: what is run.
        spec: its only argument, plain values.
        python: the interpreter that runs it; default: the one that runs this.

    Raises:
        RunFailedError: see `run_program`; ten minutes are too long.
    """
    return run_program([python or sys.executable, "-m", module, json.dumps(spec)])


def stub_stats(url: str, cafile: str | None = None) -> dict[str, Any]:
    """Return what a stub server has counted so far."""
    address = url.partition("://")[2]
    if cafile is None:
        connection = http.client.HTTPConnection(address, timeout=30)
    else:
        context = ssl.create_default_context(cafile=cafile)
        connection = http.client.HTTPSConnection(address, timeout=30, context=context)
    try:
        connection.request("GET", "/stub/stats")
        stats: dict[str, Any] = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return stats
