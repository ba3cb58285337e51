"""Running a piece of a test in a forked child, with a guard against the hangs that forks are feared for."""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

HANG = 60.0


class Child:
    """A forked child that runs a function and sends what it returned."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._read_end, write_end = os.pipe()
        with warnings.catch_warnings():
            # Forking a process with threads is what these tests are about.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            _run(function, write_end)
        os.close(write_end)

    def result(self) -> Any:
        """What the function returned; fails the test when it raised or did not end."""
        received = b""
        try:
            while True:
                ready, _, _ = select.select([self._read_end], [], [], HANG)
                assert ready, "the child hangs"
                piece = os.read(self._read_end, 65536)
                if not piece:
                    break
                received += piece
        except BaseException:
            os.kill(self.pid, signal.SIGKILL)
            raise
        finally:
            os.close(self._read_end)
            _, status = os.waitpid(self.pid, 0)
        assert status == 0, f"the child ended with {os.waitstatus_to_exitcode(status)}"
        fine, value = pickle.loads(received)
        assert fine, value
        return value


def in_child(function: Callable[[], Any]) -> Any:
    """Return what `function` returns in a forked child."""
    return Child(function).result()


def raised(function: Callable[[], Any]) -> str:
    """The class name of what `function` raises."""
    try:
        function()
    except BaseException as error:
        return type(error).__name__
    return "nothing"


def _run(function: Callable[[], Any], write_end: int) -> None:
    status = 1
    try:
        try:
            answer = (True, function())
        except BaseException:
            answer = (False, traceback.format_exc())
        with os.fdopen(write_end, "wb") as pipe:
            pickle.dump(answer, pipe)
        sys.stderr.flush()
        status = 0
    finally:
        os._exit(status)
