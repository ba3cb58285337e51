"""Threads of the runtime: named, daemonic, and known, so that nobody waits on one for what it has to produce.

They serve everybody, so what fails on one is logged and the thread goes on, even where logging fails too.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator

from tinker_actors.runtime.forks import on_fork

_own: set[int] = set()
on_fork(_own.clear)  # the threads are gone, and their numbers may be given to others


def start_thread(name: str, target: Callable[[], None]) -> threading.Thread:
    """Start a daemon thread `tinker-actors-<name>` that counts as the runtime's own while it runs."""

    def run() -> None:
        with as_own_thread():
            target()

    thread = threading.Thread(target=run, name=f"tinker-actors-{name}", daemon=True)
    thread.start()
    return thread


class OneThread:
    """A thread that is there once it was needed, and only once, however many threads and signal handlers need it.

    It takes no lock: a handler that interrupts who holds it would wait for ever. Several may start a thread at a time;
    the first that runs stays, the others end at once.

    Args:
        name: the thread's, behind `tinker-actors-`.
        target: what it runs, until the process ends.
    """

    def __init__(self, name: str, target: Callable[[], None]) -> None:
        self._name = name
        self._target = target
        self._running: dict[str, int] = {}

    def ensure(self) -> None:
        """Start the thread unless it runs.

        Raises:
            RuntimeError: the process can't have another thread.
        """
        if not self._running:
            start_thread(self._name, self._run)

    def _run(self) -> None:
        me = threading.get_ident()
        if self._running.setdefault(self._name, me) == me:
            try:
                self._target()
            finally:
                self._running.clear()


@contextlib.contextmanager
def as_own_thread() -> Iterator[None]:
    """Count the calling thread as the runtime's own meanwhile."""
    ident = threading.get_ident()
    _own.add(ident)
    try:
        yield
    finally:
        _own.discard(ident)


def let_others_finish() -> None:
    """Have the calling thread, when it is woken, not interrupt what runs on its processor.

    Whoever wakes a thread of Python's holds the interpreter, so a thread that interrupts him runs into a wall: two
    switches for nothing. Its share of the processor stays the same. Linux only (SCHED_BATCH, sched(7)); elsewhere, and
    where the program has chosen a policy of its own or may not choose, nothing is done.
    """
    if sys.platform == "linux":
        # Refused by some sandboxes and unknown to some C libraries: that costs switches, and nothing else.
        with contextlib.suppress(OSError):
            if os.sched_getscheduler(0) == os.SCHED_OTHER:
                os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def log_failure(logger: logging.Logger, text: str, *args: object) -> None:
    """Log a failure at ERROR, with the exception that is being handled. Never raises."""
    log_safely(logger, logging.ERROR, text, *args, failure=sys.exception())


def log_safely(
    logger: logging.Logger, level: int, text: str, *args: object, failure: BaseException | None = None
) -> None:
    """Log something. Never raises.

    What a log handler of the user's raises is printed, as the standard library's handlers do with their own failures.
    """
    try:
        logger.log(level, text, *args, exc_info=failure, stacklevel=2)  # as said by whoever says it
    except BaseException:
        with contextlib.suppress(Exception):  # there may be nothing to print to
            traceback.print_exc()


def on_own_thread() -> bool:
    """Return whether the calling thread belongs to the runtime."""
    return threading.get_ident() in _own
