"""Ctrl-C at every line in turn: what a test needs to raise `KeyboardInterrupt` wherever a call may be when it comes.

A trace function counts the lines of one folder that a call runs on its own thread, and raises at the one that is due.
So each point is hit for certain, once, and not by luck. A trace function also raises where a `with` block gives its
lock back, and there no real interrupt comes: so the standard library is left out, and where a block is left, too.
"""

from __future__ import annotations

import itertools
import linecache
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import tinker_actors

PACKAGE = str(Path(tinker_actors.__file__).parent)


class Interrupter:
    """Runs calls and interrupts them at one line.

    Args:
        at: which of the lines that the call runs, from 0 on.
        folder: whose lines count.

    Attributes:
        where: the line that was interrupted; None when the call ended before.
    """

    def __init__(self, at: int, folder: str) -> None:
        self._left = at
        self._folder = folder
        self._entered: set[tuple[FrameType, int]] = set()
        self.where: str | None = None

    def run(self, call: Callable[[], Any]) -> Any:
        """Return what the call returns, or None when it was interrupted."""
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            return next(_apart(call))
        except KeyboardInterrupt:
            return None
        finally:
            sys.settrace(before)
            self._entered.clear()

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code is Interrupter.run.__code__ or (event == "call" and _swallows(frame)):
            return None
        if event == "line" and self.where is None and frame.f_code.co_filename.startswith(self._folder):
            if self._leaves_a_block(frame):
                return self._trace
            if self._left == 0:
                self.where = f"{frame.f_code.co_filename}:{frame.f_lineno} ({frame.f_code.co_name})"
                raise KeyboardInterrupt
            self._left -= 1
        return self._trace

    def _leaves_a_block(self, frame: FrameType) -> bool:
        """Return whether a line is that of a `with` which this frame has been at before."""
        if not linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip().startswith("with "):
            return False
        place = (frame, frame.f_lineno)
        known = place in self._entered
        self._entered.add(place)
        return known


def _apart(call: Callable[[], Any]) -> Iterator[Any]:
    """Yield what the call returns. A generator has an exception state of its own, which ends with it.

    What is raised where an `except` block ends would stay the thread's current exception otherwise.
    """
    yield call()


def _swallows(frame: FrameType | None) -> bool:
    """Return whether Python itself swallows what is raised here: in finalizers, which run anywhere."""
    while frame is not None and frame.f_code is not Interrupter.run.__code__:
        name, file = frame.f_code.co_name, frame.f_code.co_filename
        if name == "__del__" or file.endswith(("weakref.py", "_weakrefset.py")):
            return True
        frame = frame.f_back
    return False


def every_line(folder: str = PACKAGE) -> Iterator[Interrupter]:
    """Yield an interrupter for each line of a call, until the call ends without having been interrupted.

    The caller runs the same call with each of them, under the same conditions.
    """
    for at in itertools.count():
        interrupter = Interrupter(at, folder)
        yield interrupter
        if interrupter.where is None:
            assert at > 10, "nothing was interrupted"
            return
