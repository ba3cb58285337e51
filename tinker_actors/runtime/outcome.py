"""Outcomes: what is set once, by whoever comes first, and told to all who watch.

**No lock is taken.** A lane sets an outcome; the main thread looks at it, and a signal handler can interrupt the main
thread anywhere, also between taking a lock and giving it back. A handler that then waits for what a lane has yet to do
would wait for ever. So the outcome is one attribute that is set once, in one call into the interpreter, and whoever
leaves word looks at it again afterwards: either he sees it, or whoever sets it sees him.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import _base as states
from typing import Any

from tinker_actors.runtime import forks

Outcome = tuple[str, Any, BaseException | None]
"""State, value, error."""

UNDECIDED: Outcome = (states.RUNNING, None, None)


# What each thread that decides many at a time has not told yet.
_held_back: dict[int, list[Decidable]] = {}


def hold_back() -> list[Decidable]:
    """Have the outcomes that this thread sets from now on told by `tell_held_back`; return where they are kept.

    Whoever waits for one of many can do nothing before this thread lets go of the interpreter, and has little to do
    then. If he is woken for each of them, the two threads take turns at every one.
    """
    return _held_back.setdefault(threading.get_ident(), [])


def tell_held_back(held: list[Decidable]) -> None:
    """Tell what was held back up to now. An interrupt leaves what is not told for the next time."""
    while held:
        held[0]._tell_now()
        del held[0]


def hold_nothing_back() -> None:
    """Tell what this thread has held back, and from now on each outcome when it is set."""
    held = _held_back.get(threading.get_ident())
    if held is not None:
        tell_held_back(held)
        del _held_back[threading.get_ident()]


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
        held = _held_back.get(threading.get_ident())
        if held is not None:
            held.append(self)
        else:
            self._tell_now()

    def _tell_now(self) -> None:
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


forks.on_fork(_held_back.clear)  # the threads are gone, and their numbers will be others'
