"""Processes: the stub and the clients that are measured, each in a fresh interpreter, each on a core of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.measure import ROOT, cores

_LONGEST_RUN = 600.0
_PATIENCE_AT_THE_END = 10.0


class RunFailedError(RuntimeError):
    """A measured process did not come to its end; the message holds what it wrote."""


def _environment() -> dict[str, str]:
    """Return the environment without what would change a client's configuration behind the benchmark's back."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
    return {name: value for name, value in kept.items() if not name.startswith("TINKER_")}


def placement(*, pin: bool) -> tuple[list[int], list[int]]:
    """Return the cores of the server and of the client: one each if there are two, else whatever there is."""
    usable = cores()
    if not pin or len(usable) < 2:
        return usable, usable
    return usable[:1], usable[1:2]


@contextlib.contextmanager
def stub(*arguments: str, where: list[int]) -> Iterator[str]:
    """Run a stub server on these cores and give its URL; it ends with the block.

    Raises:
        RunFailedError: it did not start.
    """
    command = [sys.executable, "-m", "benchmarks.stub", *arguments, "--cores", *map(str, where)]
    server = subprocess.Popen(
        command, cwd=ROOT, env=_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        port = server.stdout.readline().strip()
        if not port:
            raise RunFailedError("the stub server did not start; it says why on standard error")
        yield f"{'https' if '--tls' in arguments else 'http'}://127.0.0.1:{port}"
    finally:
        server.stdin.close()
        try:
            server.wait(_PATIENCE_AT_THE_END)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        server.stdout.close()


def run_client(module: str, spec: dict[str, Any], python: str | None = None) -> dict[str, Any]:
    """Run a client: it gets `spec` as JSON, moves to the cores named there, and answers with JSON on its last line.

    Args:
        module: what is run.
        spec: its only argument, plain values.
        python: the interpreter that runs it; default: the one that runs this.

    Raises:
        RunFailedError: it failed or took longer than ten minutes.
    """
    command = [python or sys.executable, "-m", module, json.dumps(spec)]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=_environment(), capture_output=True, text=True, timeout=_LONGEST_RUN, check=False
        )
    except OSError as error:
        raise RunFailedError(f"{python} can't be run: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise RunFailedError(f"{module} {spec} took longer than {_LONGEST_RUN:g} s") from error
    if done.returncode:
        raise RunFailedError(f"{module} {spec} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    result["stderr"] = done.stderr
    return result


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
