"""Unfinished work at the end of the program: what was called, changes the server, and is not decided.

Who closes his client is told by `close()` what it did not wait for. A program that ends without loses the same in
silence: what it called and did not wait for. One line at the interpreter's exit says so. It waits for nothing.
"""

from __future__ import annotations

import atexit
import gc
import logging
from collections.abc import Iterator
from typing import Any

from tinker_actors.runtime import forks
from tinker_actors.runtime.failed_future import FailedFuture
from tinker_actors.runtime.threads import log_failure
from tinker_actors.runtime.unseen import counted

logger = logging.getLogger("tinker_actors")


class Unfinished:
    """Tells of futures that are not decided when the program ends. Thread-safe."""

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Watch nothing: in a forked child nobody waits for what its parent called."""
        self._watching = False

    def watch(self, *futures: FailedFuture[Any]) -> None:
        """Tell of these if they are not decided by then. To be called before anybody can decide them."""
        for future in futures:
            future._missed = True
        if not self._watching:
            self._watching = True
            atexit.unregister(self._report)  # the parent's registration, in a child of `os.fork`: it is told once
            atexit.register(self._report)  # not on import; see `Unseen.watch`

    def _report(self) -> None:
        try:
            left = list(_undecided())
            if left:
                logger.warning(
                    "The program ended with %s unfinished, and what was not sent yet is lost. Leaving a with block of "
                    "the ServiceClient, or close(), waits for them.",
                    counted(left),
                )
        except BaseException:
            log_failure(logger, "What was left unfinished could not be reported")


def _undecided() -> Iterator[str]:
    """Find the operations in whose futures nothing is decided; whoever works on them holds them."""
    future: Any
    for future in gc.get_objects():
        # By its true class: proxies of other libraries claim to be of any.
        mine = issubclass(type(future), FailedFuture) and future._missed and future._epoch == forks.epoch
        if mine and future._outcome is None:
            yield future._tracker.what


unfinished = Unfinished()

forks.on_fork(unfinished.begin_anew)
