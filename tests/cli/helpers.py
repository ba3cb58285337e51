"""The command line as a process: starting it, and reading what it prints line by line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

HANG = 120.0


def start(*words: str) -> subprocess.Popen[str]:
    """Start `tinker-actors` with the given words."""
    return subprocess.Popen(
        [sys.executable, "-m", "tinker_actors", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
        env={**os.environ, "COLUMNS": "120"},
        start_new_session=True,
    )


def line_with(process: subprocess.Popen[str], text: str) -> str:
    """Return the first line of stdout that holds `text`; a process that hangs is killed."""
    assert process.stdout is not None
    assert process.stderr is not None
    guard = threading.Timer(HANG, process.kill)
    guard.start()
    try:
        for line in process.stdout:
            if text in line:
                return line
    finally:
        guard.cancel()
    raise AssertionError(f"it ended without a line with {text!r}: {process.stderr.read()}")


def interrupt(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Do what Ctrl-C in a terminal does, and return the exit status and what came on stderr."""
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=HANG)
    return process.returncode, said


def is_running(pid: int) -> bool:
    """Return whether a process with this id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
