"""Connector threads: connections are opened beside the lanes, not on them.

Name lookup, TCP, TLS and proxy tunnels block. A few daemon threads of the process do them and hand over connected
sockets. They are shared by all lanes and started when there is something to open; how many there are follows how long
opening takes.
"""

from __future__ import annotations

import itertools
import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable

from tinker_actors.net import dialing
from tinker_actors.net.target import Hop, Target
from tinker_actors.net.transport import Broken
from tinker_actors.runtime.forks import on_fork
from tinker_actors.runtime.threads import log_failure

logger = logging.getLogger(__name__)

# Two do where opening takes no time, and one of them is always there for another server. Where it takes long, because
# the server is far away, threads are added while connections wait, as long as opening takes longer than this for each
# thread there is: 100 connections a second. Where it takes long because handshakes compete for the processor, its time
# grows with the threads, and none are added.
_FEW_THREADS = 2
_MOST_THREADS = 32
_SECONDS_PER_THREAD = 0.01
_IDLE_SECONDS = 10.0


class Opening:
    """A connection being opened. Its fields belong to the connector."""

    __slots__ = ("abandoned", "hop", "on_done", "outcome", "target")

    def __init__(self, target: Target, on_done: Callable[[Opening], object]) -> None:
        self.target = target
        self.hop = target.hop
        self.on_done = on_done
        self.abandoned = False
        self.outcome: socket.socket | Broken | None = None


class Connector:
    """Opens connections on a few threads, or many where it takes long. All methods may be called from any thread.

    A host that has a thread never gets the last one that is free, and one that has none does not wait for one. So
    hosts that do not answer can't keep the others waiting; all that goes through a proxy is one host here.

    Args:
        threads: the most threads.
        few: how many are started without waiting to see whether opening takes long.
        clock: tells how long opening took, in seconds.
        open_socket: what opens one connection, blocking; it returns a connected non-blocking socket or a
            `Broken`. By default `dialing.open_socket`.
    """

    def __init__(
        self,
        threads: int = _MOST_THREADS,
        open_socket: Callable[[Target], socket.socket | Broken] | None = None,
        *,
        few: int = _FEW_THREADS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most_threads = threads
        self._few = min(few, threads)
        self._clock = clock
        self._open_socket = open_socket or dialing.open_socket
        self._condition = threading.Condition()
        # For each host what no thread has begun, an ordered set that is never empty; and how many threads it has.
        self._queue: dict[Hop, dict[Opening, None]] = {}
        self._busy: Counter[Hop] = Counter()
        self._threads: list[threading.Thread] = []
        self._idle = 0

    def open(self, target: Target, on_done: Callable[[Opening], object]) -> Opening:
        """Start opening a connection.

        `on_done(opening)` runs on a connector thread, or at once where no thread can be had (the interpreter is
        going down); `take` then gives the outcome.
        """
        opening = Opening(target, on_done)
        with self._condition:
            self._queue.setdefault(opening.hop, {})[opening] = None
            if self._needs_thread():
                self._start_thread()
            if self._threads:
                self._condition.notify()
                return opening
            self._queue.clear()
        opening.outcome = Broken("connect", "connect", "no thread could be started to connect with", False)
        _report(opening)
        return opening

    def take(self, opening: Opening) -> socket.socket | Broken | None:
        """Return the outcome, once: the socket is the caller's from here on. None when it was abandoned."""
        with self._condition:
            outcome, opening.outcome = opening.outcome, None
        return outcome

    def withdraw(self, opening: Opening) -> bool:
        """Take back an opening that no thread has begun. False when it is too late for that."""
        with self._condition:
            waiting = self._queue.get(opening.hop, {})
            if opening not in waiting:
                return False
            del waiting[opening]
            if not waiting:
                del self._queue[opening.hop]
        return True

    def abandon(self, opening: Opening) -> None:
        """Give up an opening in whatever state: its socket is closed if there is or will be one."""
        if self.withdraw(opening):
            return
        with self._condition:
            opening.abandoned = True
            outcome, opening.outcome = opening.outcome, None
        if isinstance(outcome, socket.socket):
            outcome.close()

    def threads(self) -> tuple[threading.Thread, ...]:
        """Return the threads there are."""
        with self._condition:
            return tuple(self._threads)

    def _needs_thread(self) -> bool:
        """Return whether what waits needs one more thread, however long opening takes. Called with the lock held."""
        threads = len(self._threads)
        if threads < self._few:
            return self._idle < sum(map(len, self._queue.values()))
        without = sum(hop not in self._busy for hop in self._queue)
        return threads < self._most_threads and threads - self._busy.total() < without

    def _start_thread(self) -> None:
        number = next(_thread_numbers)
        thread = threading.Thread(target=self._run, name=f"tinker-actors-connector-{number}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # Those there are must do.
            log_failure(logger, "Could not start another connector thread")
        else:
            self._threads.append(thread)

    def _run(self) -> None:
        while (opening := self._begin()) is not None:
            begun = self._clock()
            outcome = self._open(opening.target)
            took = self._clock() - begun
            with self._condition:
                self._busy -= Counter((opening.hop,))
                wanted = not opening.abandoned
                if wanted:
                    opening.outcome = outcome
                threads = len(self._threads)
                if self._queue and threads < self._most_threads and took >= threads * _SECONDS_PER_THREAD:
                    self._start_thread()
                elif self._queue:
                    self._condition.notify()  # its host has a place again
            if wanted:
                _report(opening)
            elif isinstance(outcome, socket.socket):
                outcome.close()
            del opening, outcome  # a waiting connector keeps no lane alive

    def _begin(self) -> Opening | None:
        """Wait for an opening whose host has a place, and take it out; None ends a thread that is not needed."""
        with self._condition:
            while (opening := self._next()) is None:
                self._idle += 1
                in_time = self._condition.wait(_IDLE_SECONDS)
                self._idle -= 1
                if not in_time and not self._queue and len(self._threads) > self._few:
                    self._threads.remove(threading.current_thread())
                    return None
            self._busy[opening.hop] += 1
            return opening

    def _next(self) -> Opening | None:
        """Take out an opening of the host that has fewest threads, if it may have one more. Under the lock."""
        hop = min(self._queue, key=self._busy.__getitem__, default=None)
        if hop is None or (self._busy[hop] and self._busy.total() >= len(self._threads) - 1):
            return None
        waiting = self._queue.pop(hop)
        opening = next(iter(waiting))
        del waiting[opening]
        if waiting:
            self._queue[hop] = waiting  # behind the others
        return opening

    def _open(self, target: Target) -> socket.socket | Broken:
        try:
            return self._open_socket(target)
        except BaseException as error:
            log_failure(logger, "Opening a connection to %r failed in an unexpected way", target)
            return Broken("connect", "connect", f"could not connect to {target.url}: {type(error).__name__}", False)


def shared_connector() -> Connector:
    """Return the connector of this process."""
    return _shared


def connector_threads() -> tuple[threading.Thread, ...]:
    """Return the threads of this process's connector, in the order they were started."""
    return _shared.threads()


def _report(opening: Opening) -> None:
    try:
        opening.on_done(opening)
    except BaseException:
        log_failure(logger, "The receiver of a new connection failed")


def _forget_threads() -> None:
    """Start afresh in a forked child, which has the parent's memory and none of its threads."""
    global _shared  # noqa: PLW0603 - the only process-wide state here
    _shared = Connector()


_thread_numbers = itertools.count(1)
_shared = Connector()
on_fork(_forget_threads)
