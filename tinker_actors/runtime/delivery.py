"""Delivery: where users' callbacks run, and how asyncio loops hear of results.

A callback may be slow or raise; on a lane it would delay every poll. So callbacks have one thread of their own, and
each event loop is woken once per turn, however many results came in.
"""

from __future__ import annotations

import logging
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from tinker_actors.runtime.threads import start_thread

if TYPE_CHECKING:
    import asyncio

logger = logging.getLogger("tinker_actors")


class Delivery(Protocol):
    """Runs callbacks somewhere that is not a lane."""

    def post(self, callback: Callable[[], Any]) -> None:
        """Run `callback` later, or elsewhere; what it raises is logged."""
        ...


class DeliveryThread:
    """One daemon thread that runs callbacks in the order they were posted; started with the first."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def post(self, callback: Callable[[], Any]) -> None:
        """Queue a callback. Thread-safe."""
        self._queue.put(callback)
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = start_thread("delivery", self._loop)

    def _loop(self) -> None:
        while True:
            run_callback(self._queue.get())


def run_callback(callback: Callable[[], Any]) -> None:
    """Run a user's callback; log what it raises, a `BaseException` included, and go on."""
    try:
        callback()
    except BaseException:
        logger.exception("A callback on a future failed: %r", callback)


class LoopBridge:
    """Wakes the waiters of one event loop, at most one wake-up per turn of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._ready: deque[asyncio.Future[None]] = deque()
        self._scheduled = False
        self._guard = threading.Lock()

    def wake(self, waiter: asyncio.Future[None]) -> None:
        """Complete `waiter` on its loop. Callable from any thread."""
        with self._guard:
            self._ready.append(waiter)
            if self._scheduled:
                return
            self._scheduled = True
        loop = self._loop()
        try:
            if loop is not None:
                loop.call_soon_threadsafe(self._run)
        except RuntimeError:
            # The loop was closed with waiters on it: nobody is left to hear.
            logger.debug("A result arrived for a closed event loop")

    def _run(self) -> None:
        with self._guard:
            self._scheduled = False
            ready, self._ready = self._ready, deque()
        for waiter in ready:
            if not waiter.done():
                waiter.set_result(None)


# Weak on both sides: a bridge may hold waiters, and those their loop, which may have been closed before its turn came.
_bridges: weakref.WeakKeyDictionary[Any, weakref.ref[LoopBridge]] = weakref.WeakKeyDictionary()
_bridges_guard = threading.Lock()


def bridge_to(loop: asyncio.AbstractEventLoop) -> LoopBridge:
    """Return the one bridge to `loop`, which lives as long as somebody waits over it. Thread-safe."""
    with _bridges_guard:
        known = _bridges.get(loop)
        bridge = None if known is None else known()
        if bridge is None:
            bridge = LoopBridge(loop)
            _bridges[loop] = weakref.ref(bridge)
        return bridge
