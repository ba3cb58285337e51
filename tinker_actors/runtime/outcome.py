"""Outcomes: what is set once, by whoever comes first, and told to all who watch.

**No lock is taken.** A lane sets an outcome; the main thread looks at it, and a signal handler can interrupt the main
thread anywhere, also between taking a lock and giving it back. A handler that then waits for what a lane has yet to do
would wait for ever. So the outcome is one attribute that is set once, in one call into the interpreter, and whoever
leaves word looks at it again afterwards: either he sees it, or whoever sets it sees him.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import _base as states
from typing import Any

Outcome = tuple[str, Any, BaseException | None]
"""State, value, error."""

UNDECIDED: Outcome = (states.RUNNING, None, None)


class Decidable:
    """Has an outcome, now or later. Thread-safe, also in signal handlers."""

    # In an instance only what is needed there.
    _outcome: Outcome | None = None
    # Called when there is an outcome: they open a waiting thread's gate, wake a loop, or post a callback.
    _watchers: list[Callable[[], object]] | None = None

    def _watch(self, watcher: Callable[[], object]) -> None:
        """Call `watcher` when there is an outcome, maybe at once, or, after an interrupt, twice. It must not block."""
        self.__dict__.setdefault("_watchers", []).append(watcher)
        if self._outcome is not None:  # whoever announced it may have looked before
            self._tell_watchers()

    def _tell_watchers(self) -> None:
        watchers = self._watchers
        watcher: Callable[[], object] | None = None
        try:
            while watchers:
                watcher = watchers.pop(0)
                watcher()
                watcher = None
        except IndexError:
            return  # another thread had it
        except BaseException:
            # An interrupt: whoever was about to be told is told when it is announced again, maybe once more.
            if watcher is not None and watchers is not None:
                watchers.insert(0, watcher)
            raise

    def _unwatch(self, watcher: Callable[[], object]) -> None:
        # Once there is an outcome it may be gone, or be taken out by whoever announces.
        with contextlib.suppress(ValueError):
            (self._watchers or []).remove(watcher)
