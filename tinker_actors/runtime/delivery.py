"""Delivery: where users' callbacks run, and how asyncio loops hear of results.

A callback may be slow or raise; on a lane it would delay every poll. So callbacks have one thread of their own, and
each event loop is woken fewer than a hundred times a second, however many results come in.
"""

from __future__ import annotations

import logging
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from tinker_actors.runtime.clock import Clock, MonotonicClock
from tinker_actors.runtime.forks import on_fork
from tinker_actors.runtime.threads import OneThread, log_failure
from tinker_actors.runtime.timers import Timers

if TYPE_CHECKING:
    import asyncio

logger = logging.getLogger("tinker_actors")

# Wake-ups of a loop: so many at once, and then one in so many seconds. Less than 100 in any second.
_AT_ONCE = 10
_GATHERED = 0.012


class Inner(partial[Any]):
    """A callback of the runtime's own: by its call the user is told nothing (`TinkerError.on_told`)."""

    __slots__ = ()


class Delivery(Protocol):
    """Runs callbacks somewhere that is not a lane."""

    def post(self, callback: Callable[[], Any]) -> None:
        """Run `callback` later, or elsewhere; what it raises is logged."""
        ...


class DeliveryThread:
    """One daemon thread that runs callbacks in the order they were posted; started with the first.

    Args:
        clock: for callbacks that are posted for later.
        name: the thread's, behind `tinker-actors-`.
    """

    def __init__(self, clock: Clock | None = None, name: str = "delivery") -> None:
        self._clock: Clock = clock or MonotonicClock()
        self._name = name
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget the thread and what it was to run: in a forked child, both are the parent's."""
        self._queue: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()
        self._timers = Timers()
        self._thread = OneThread(self._name, self._loop)

    def post(self, callback: Callable[[], Any]) -> None:
        """Queue a callback. Thread-safe, also in finalizers; never blocks and never raises."""
        self._queue.put(callback)
        try:
            self._thread.ensure()
        except RuntimeError:
            log_failure(logger, "Could not start the thread for callbacks; the next callback tries again")

    def post_later(self, delay: float, callback: Callable[[], Any]) -> None:
        """Queue a callback for `delay` seconds from now, as `post` does."""
        self.post(lambda: self._timers.call_at(self._clock.now() + delay, callback))

    def _loop(self) -> None:
        timers, now = self._timers, self._clock.now
        while True:
            try:  # noqa: SIM105 - three calls more for each callback
                run_callback(self._queue.get(timeout=timers.wait(now()) if timers._heap else None))
            except queue.Empty:  # a timer is due
                pass
            while timers._heap and (callback := timers.pop_due(now())) is not None:
                run_callback(callback)
                del callback


def run_callback(callback: Callable[[], Any]) -> None:
    """Run a user's callback; log what it raises, a `BaseException` included, and go on."""
    try:
        callback()
    except BaseException:
        log_failure(logger, "A callback on a future failed: %r", callback)


default_delivery = DeliveryThread()

on_fork(default_delivery.begin_anew)


class LoopBridge:
    """Wakes the waiters of one event loop, and the loop itself not more often than it has to.

    A result wakes the loop at once as long as there are few of them. In a stream of results the loop gathers what
    comes within some 10 ms (20 at most), with a timer of its own; when all who wait have their results, or none
    comes any more, nothing is left to gather and nothing runs.

    It takes no lock, since the loop's thread may be interrupted by a signal handler that waits for what a lane does.
    Whoever wakes leaves the waiter first and reads the flags then; the loop clears the flags first and takes the
    waiters then. So a waiter is seen by the one or the other, and at worst the loop is called once for nothing.

    Attributes:
        waiters: how many wait over it. Written on the loop's thread only.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.waiters = 0
        self._loop = weakref.ref(loop)
        self._ready: deque[asyncio.Future[None]] = deque()
        self._called = False
        self._gathering = False
        self._full_again = float("-inf")  # when the allowance of wake-ups is whole again, on the loop's clock

    def wake(self, waiter: asyncio.Future[None]) -> None:
        """Complete `waiter` on its loop. Callable from any thread."""
        self._ready.append(waiter)
        if self._called or (self._gathering and len(self._ready) < self.waiters):
            return
        self._called = True
        loop = self._loop()
        try:
            if loop is not None:
                loop.call_soon_threadsafe(self._answer_call)
        except RuntimeError:
            # The loop was closed with waiters on it: nobody is left to hear.
            logger.debug("A result arrived for a closed event loop")

    def _answer_call(self) -> None:
        self._called = False
        self._complete()

    def _stop_gathering(self) -> None:
        self._gathering = False
        if not self._ready:
            self._pay()  # the timer itself was a wake-up
        self._complete()

    def _complete(self) -> None:
        """Decide for how long the next ones are gathered, and complete those who have their results."""
        ready, loop = self._ready, self._loop()
        if ready and loop is not None and not self._gathering and len(ready) < self.waiters:
            pause = self._pay()
            if pause > 0:
                # First: an interrupt may end this call, and who gathers without a timer would gather for ever.
                loop.call_later(pause, self._stop_gathering)
                self._gathering = True
        while ready:
            waiter = ready.popleft()  # nobody else takes any
            if not waiter.done():
                waiter.set_result(None)

    def _pay(self) -> float:
        """Charge a wake-up and return the seconds for which the next one has to be gathered for."""
        loop = self._loop()
        if loop is None:
            return 0.0
        now = loop.time()
        self._full_again = max(self._full_again, now) + _GATHERED
        return max(0.0, self._full_again - now - _AT_ONCE * _GATHERED)


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


def _forget_bridges() -> None:
    global _bridges_guard  # noqa: PLW0603 - somebody may have held it when the process was forked
    _bridges_guard = threading.Lock()
    _bridges.clear()


on_fork(_forget_bridges)
