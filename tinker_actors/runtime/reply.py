"""Replies: what an actor answers to who asked it, as pykka's futures, without a lock between the two.

pykka's own future holds a lock while it is looked at. The actor's thread would wait there for a main thread
that a signal handler has interrupted, and every other actor on that thread with it.
"""

from __future__ import annotations

import queue
import sys
from collections.abc import Callable
from concurrent.futures import _base as states
from types import TracebackType
from typing import Any

import pykka

from tinker_actors.runtime.gate import Gate
from tinker_actors.runtime.outcome import Decidable, Outcome

_Raised = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


class Reply(Decidable, pykka.Future[Any]):
    """A pykka future that may be set and read by anybody, also in signal handlers, whatever they interrupted."""

    # Of its own, and not those of pykka's future, which are private there; in an instance only what is needed there.
    _hook: Callable[[float | None], Any] | None = None
    _hooked: tuple[Any] | None = None

    def get(self, *, timeout: float | None = None) -> Any:
        """Wait for the reply and return it.

        Args:
            timeout: seconds to wait at most.

        Raises:
            pykka.Timeout: there is none in time.
            Exception: what the actor raised.
        """
        hook = self._hook
        if hook is not None:
            if self._hooked is None:
                self._hooked = (hook(timeout),)
            return self._hooked[0]
        if self._outcome is None:
            self._wait(timeout)
        outcome = self._outcome
        assert outcome is not None
        _, value, error = outcome
        if error is not None:
            raise error.with_traceback(value)
        return value

    def _wait(self, timeout: float | None) -> None:
        gate = Gate()
        self._watch(gate.open)
        try:
            if not gate.wait(timeout):
                raise pykka.Timeout(f"{timeout} seconds")
        finally:
            self._unwatch(gate.open)

    def set(self, value: Any = None) -> None:
        """Set the reply, once.

        Raises:
            queue.Full: it was set before.
        """
        self._set((states.FINISHED, value, None))

    def set_exception(self, exc_info: _Raised | None = None) -> None:
        """Set what the actor raised, by default what is being handled.

        Raises:
            queue.Full: the reply was set before.
        """
        kind, error, traceback = exc_info or sys.exc_info()
        assert kind is not None
        raised = kind() if error is None else error
        self._set((states.FINISHED, traceback, raised))

    def set_get_hook(self, func: Callable[[float | None], Any]) -> None:
        """Have `get` call a function instead, with its timeout, until that has returned once.

        Raises:
            queue.Full: the reply was set before.
        """
        if self._outcome is not None:
            raise queue.Full
        self._hook = func

    def _set(self, outcome: Outcome) -> None:
        if self._hook is not None or self.__dict__.setdefault("_outcome", outcome) is not outcome:
            raise queue.Full
        self._tell_watchers()
