"""The inbox of a lane: mailbox, sockets and timers behind one `get()`.

A lane is a pykka actor on its own thread. Its inbox hands out messages and, while there are none, waits for
sockets and timers, so that readiness of a socket is one more kind of message and the lane needs no lock.
pykka calls `get()` outside its `try`: an error raised there would leave an actor that never answers again and
still counts as alive. So `get()` never raises; what fails inside is logged and told to the owner of the socket.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from tinker_actors.runtime.bell import make_bell
from tinker_actors.runtime.clock import Clock, MonotonicClock
from tinker_actors.runtime.forks import forked_error, on_fork
from tinker_actors.runtime.outcome import hold_back, hold_nothing_back, tell_held_back
from tinker_actors.runtime.poller import READ, WRITE, make_poller
from tinker_actors.runtime.threads import log_failure
from tinker_actors.runtime.timers import Timers
from tinker_actors.runtime.watching import SocketOwner, Watch, Watchable

__all__ = ["READ", "WRITE", "SelectorInbox", "SocketOwner", "Watchable"]

logger = logging.getLogger(__name__)

# A flooded mailbox must not starve the sockets: with no such limit 1 of 400 reads got through in 1.5 s.
_MESSAGES_PER_TURN = 64
# Selectors return early now and then; this many times in a row without an event is a stuck descriptor.
_EMPTY_RETURNS_BEFORE_REBUILD = 64
# Sockets after whose turn everybody hears of what they brought: a millisecond of work.
_TOLD_TOGETHER = 16
# A timer that is due for longer than this many seconds when a wait for it ends.
_LATE = 0.05
# How long a lane whose selector keeps failing rests between two attempts.
_REST_AFTER_FAILURE = 0.05


class SelectorInbox:
    """An actor inbox that also runs socket callbacks and timers.

    `put`, `post` and `empty` may be called from any thread; everything else belongs to the lane's thread, the
    one that calls `get`. Waking a waiting lane costs one system call, putting into a busy one costs none.

    The wake-up relies on one order: the lane first says that it is about to sleep and then looks into the
    mailbox once more, a sender first puts and then asks whether the lane sleeps. One of the two sees the other.

    Attributes:
        timers: the lane's timers, due on the inbox's clock.
        rounds: how often all sockets that were ready had their turn. What was not ready in a whole round has nothing
            to say; after two more than one remembers, there was a whole one.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.timers = Timers()
        self.rounds = 0
        self._now = (clock or MonotonicClock()).now
        self._mailbox: deque[Any] = deque()
        self._posted: deque[Callable[[], object]] = deque()
        self._budget = _MESSAGES_PER_TURN
        self._asleep = False
        self._closed = False
        self._late: Callable[[Any], object] | None = None
        self._rest = threading.Event()  # never set: waiting for it is a pause
        self._failures = 0
        self._watches: dict[int, Watch] = {}
        self._new: set[int] = set()  # descriptors registered since the poller was asked last
        self._empty_returns = 0
        self._poller = make_poller()
        self._make_bell()
        _inboxes.add(self)

    def put(self, envelope: Any, /) -> None:
        """Append a message. From any thread; never blocks and never raises."""
        self._mailbox.append(envelope)
        try:
            if self._asleep:
                self._wake()
            elif self._late is not None:
                self._turn_away()
        except BaseException:  # an interrupt (Ctrl-C) of the caller, who may have taken the mark and not rung yet
            self._bell.ring()
            raise

    def post(self, callback: Callable[[], object]) -> None:
        """Run `callback` soon in the lane's thread, never inside this call. From any thread.

        An exception it raises is logged. After `close()` it is dropped unrun.
        """
        self._posted.append(callback)
        if self._asleep:
            self._wake()

    def empty(self) -> bool:
        """Tell whether no message waits. From any thread."""
        return not self._mailbox

    def get(self) -> Any:
        """Return the next message; meanwhile run sockets, timers and posted callbacks. Never raises."""
        while True:
            if self._mailbox and self._budget > 0:
                self._budget -= 1
                return self._mailbox.popleft()
            try:
                self._turn()
            except BaseException:
                log_failure(logger, "The inbox failed in a way it does not know; the lane goes on")
                self._rest.wait(_REST_AFTER_FAILURE)

    def register(self, sock: Watchable, events: int, owner: SocketOwner) -> None:
        """Watch a socket; `events` is a mask of `READ` and `WRITE`.

        Raises:
            ValueError: the socket is closed, or the inbox is.
            OSError: the system refuses to watch it.
        """
        fd = sock.fileno()
        if self._closed:
            raise ValueError("the inbox is closed")
        stale = self._watches.get(fd)
        if stale is not None:
            # Closed behind our back and its number given to the new socket, which a close() must not reach.
            stale.sock.detach()
            self._lose(stale, OSError("the descriptor was closed by somebody else"))
        self._poller.register(fd, events)
        self._watches[fd] = Watch(sock, fd, events, owner)
        self._new.add(fd)

    def modify(self, sock: Watchable, events: int) -> None:
        """Watch for other events. A socket that can't be watched any more is reported to `on_lost`, later."""
        watch = self._find(sock)
        if watch is None or watch.events == events:
            return
        try:
            self._poller.modify(watch.fd, events)
            watch.events = events
        except (OSError, ValueError, KeyError) as error:
            self._lose(watch, error)

    def unregister(self, sock: Watchable) -> None:
        """Forget a socket; call it before closing the socket. Does nothing when it is not watched."""
        watch = self._find(sock)
        if watch is not None:
            self._forget(watch)

    def close(self) -> None:
        """Forget all sockets, timers and posted callbacks. Messages can still be put and drained.

        The sockets are not closed and their owners not told. In the lane's thread, or when it has ended.
        """
        if self._closed:
            return
        self._closed = True
        self._asleep = False
        self._watches.clear()
        self._posted.clear()
        self.timers = Timers()
        self._poller.close()
        self._bell.close()

    def retire(self, late: Callable[[Any], object]) -> None:
        """Give every message that waits or still comes to `late`, in the thread that put it. When the owner ended."""
        self._late = late
        self._turn_away()

    def abandon(self) -> None:
        """Let go of everything in a forked child, where `put` raises `ForkedError` from now on.

        Only this process's copies of the descriptors are closed: the parent's connections go on as before, and are
        really closed when the parent closes them.
        """
        self._asleep = False
        self._mailbox.clear()
        for watch in self._watches.values():
            with contextlib.suppress(OSError):
                os.close(watch.sock.detach())
        self.close()
        self._late = _refuse

    def _turn_away(self) -> None:
        assert self._late is not None
        with contextlib.suppress(IndexError):  # emptied, here or by another thread
            while True:
                self._late(self._mailbox.popleft())

    def __repr__(self) -> str:
        return (
            f"<SelectorInbox messages={len(self._mailbox)} sockets={len(self._watches)} "
            f"timers={len(self.timers)}{' closed' if self._closed else ''}>"
        )

    def _turn(self) -> None:
        """Look at sockets, posted callbacks and timers once, waiting for them if there is no message."""
        self._budget = _MESSAGES_PER_TURN
        if self._closed:
            if not self._mailbox:
                self._rest.wait(_REST_AFTER_FAILURE)
            return
        self._run_ready(self._select())
        self.rounds += 1
        for _ in range(len(self._posted)):
            self._run(self._posted.popleft())
            if self._closed:
                return
        if (due := self.timers.next_due()) is not None and due <= (now := self._now()):
            self._run_timers(now)

    def _run_timers(self, now: float) -> None:
        # Bounded, so that a callback that makes itself due again can't hold the thread.
        for _ in range(len(self.timers)):
            callback = self.timers.pop_due(now)
            if callback is None:
                return
            self._run(callback)

    def _run_ready(self, ready: list[tuple[int, int]]) -> None:
        if not ready:
            return
        known, held = False, hold_back()
        try:
            for start in range(0, len(ready), _TOLD_TOGETHER):
                known = self._run_some(ready[start : start + _TOLD_TOGETHER]) or known
                tell_held_back(held)
        finally:
            hold_nothing_back()
        if known:
            self._empty_returns = 0
        else:
            self._note_empty_return()

    def _run_some(self, ready: list[tuple[int, int]]) -> bool:
        """Run the owners of these; return whether there was one."""
        watches, new, known = self._watches, self._new, False
        for fd, events in ready:
            watch = watches.get(fd)
            # An earlier callback of this round may have let go of this one, and the number may be somebody else's now.
            if watch is None or (new and fd in new):
                continue
            known = True
            try:
                watch.owner.on_ready(events)
            except BaseException as error:
                log_failure(logger, "A socket callback failed; the socket is let go")
                if watches.get(fd) is watch:
                    self._lose(watch, error)
        return known

    def _run(self, callback: Callable[[], object]) -> None:
        try:
            callback()
        except BaseException:
            log_failure(logger, "A callback failed; the lane goes on")

    def _select(self) -> list[tuple[int, int]]:
        """Wait until something is due and return the ready descriptors. Rebuilds a poller that fails."""
        timeout = self._time_to_wait()
        if self._new:
            self._new.clear()
        if timeout != 0:
            self._asleep = True
            if self._mailbox or self._posted:
                timeout = 0
        try:
            ready = self._poller.wait(timeout)
            if not ready and timeout and self._woken_late():
                # A process that was stopped in the middle of the wait comes back without a look at its sockets. What
                # came is seen before anybody is told that nothing did.
                ready = self._poller.wait(0)
        except Exception as error:
            self._asleep = False
            self._rebuild(error)
            return []
        self._asleep = False
        self._failures = 0
        if not ready and timeout != 0 and self._time_to_wait() != 0:
            self._note_empty_return()
        return ready

    def _woken_late(self) -> bool:
        self._asleep = False
        due = self.timers.next_due()
        return due is not None and self._now() - due > _LATE

    def _time_to_wait(self) -> float | None:
        if self._mailbox or self._posted:
            return 0
        return self.timers.wait(self._now())

    def _note_empty_return(self) -> None:
        """Count returns before time without an event: a closed descriptor that lives on elsewhere does that."""
        self._empty_returns += 1
        if self._empty_returns >= _EMPTY_RETURNS_BEFORE_REBUILD:
            self._empty_returns = 0
            self._rebuild(OSError("the selector reports a descriptor that nobody registered"))

    def _rebuild(self, error: BaseException) -> None:
        """Make a new selector from the sockets that are still good, and tell the owners of the others."""
        log_failure(logger, "The selector failed and is rebuilt with %d sockets: %r", len(self._watches), error)
        with contextlib.suppress(OSError):  # it may be the closed descriptor itself
            self._poller.close()
        try:
            self._poller = make_poller()
        except OSError:
            logger.exception("No new selector to be had; trying again")
            self._rest.wait(_REST_AFTER_FAILURE)
            return
        watches, self._watches = self._watches, {}
        for watch in watches.values():
            try:
                self._register_again(watch)
            except (OSError, ValueError, KeyError) as reason:
                self._tell_lost(watch, reason)
        self._failures += 1
        if self._failures > 1:
            # A selector that fails at every call must not take the whole processor.
            self._rest.wait(_REST_AFTER_FAILURE)

    def _register_again(self, watch: Watch) -> None:
        if watch.sock.fileno() != watch.fd:
            raise ValueError("the socket was closed by somebody else")
        os.fstat(watch.fd)
        self._poller.register(watch.fd, watch.events)
        self._watches[watch.fd] = watch

    def _find(self, sock: Watchable) -> Watch | None:
        watch = self._watches.get(sock.fileno())
        if watch is not None and watch.sock is sock:
            return watch
        # A socket that was closed first has lost its number.
        return next((watch for watch in self._watches.values() if watch.sock is sock), None)

    def _forget(self, watch: Watch) -> None:
        del self._watches[watch.fd]
        with contextlib.suppress(KeyError, OSError, ValueError):  # the system may have forgotten it already
            self._poller.unregister(watch.fd)

    def _lose(self, watch: Watch, error: BaseException) -> None:
        self._forget(watch)
        self._tell_lost(watch, error)

    def _tell_lost(self, watch: Watch, error: BaseException) -> None:
        # Posted, because the owner may be in the middle of the call that found out.
        self._posted.append(lambda: watch.owner.on_lost(error))

    def _make_bell(self) -> None:
        bell = self._bell = make_bell()
        try:
            self.register(bell, READ, _BellOwner(self))
        except (OSError, ValueError):
            bell.close()
            raise

    def _remake_bell(self) -> None:
        self._bell.close()
        try:
            self._make_bell()
        except (OSError, ValueError):
            # Without it nobody can wake the lane: it wakes up by itself until there is one.
            log_failure(logger, "No new bell to be had; trying again")
            self.timers.call_at(self._now() + _REST_AFTER_FAILURE, self._remake_bell)

    def _wake(self) -> None:
        self._asleep = False
        self._bell.ring()


class _BellOwner:
    """Owner of the bell that wakes the lane."""

    def __init__(self, inbox: SelectorInbox) -> None:
        self._inbox = inbox

    def on_ready(self, events: int) -> None:  # noqa: ARG002 - the protocol's signature
        self._inbox._bell.hush()

    def on_lost(self, error: BaseException) -> None:
        log_failure(logger, "The bell that wakes the lane was lost and is replaced: %r", error)
        self._inbox._remake_bell()


def _refuse(_: Any) -> None:
    raise forked_error("A message to a lane")


def _abandon_all() -> None:
    for inbox in list(_inboxes):
        inbox.abandon()


_inboxes: weakref.WeakSet[SelectorInbox] = weakref.WeakSet()
on_fork(_abandon_all)
