"""Futures: one object for threads, asyncio, callbacks and actors.

`APIFuture` is a `concurrent.futures.Future` that is running from birth, so that `asyncio.wait_for` or a cancelled
task can only stop waiting, never the operation. Only futures made with `on_cancel` (samples) can be cancelled.
"""

from __future__ import annotations

import concurrent.futures
import logging
import threading
import traceback
from collections.abc import Callable, Coroutine, Generator, Sequence
from concurrent.futures import _base as states
from functools import partial
from typing import Any, Generic, TypeVar, cast

import pykka

from tinker_actors.errors import DeadlineExceededError, TinkerError, WouldDeadlockError, fresh
from tinker_actors.runtime import forks
from tinker_actors.runtime.actor import Ref, tell
from tinker_actors.runtime.delivery import Delivery, DeliveryThread, Inner, bridge_to
from tinker_actors.runtime.library_future import DECIDED, LibraryFuture
from tinker_actors.runtime.progress import Progress, Tracker
from tinker_actors.runtime.threads import on_own_thread

logger = logging.getLogger("tinker_actors")

T = TypeVar("T")

default_delivery = DeliveryThread()

_NOBODY: tuple[Any, ...] = ()

forks.on_fork(default_delivery.begin_anew)


class APIFuture(LibraryFuture[T], Generic[T]):
    """The result of an operation, now or later.

    Works with `concurrent.futures.wait` and `as_completed`, with `await` on any event loop, with callbacks and with
    actors. All methods are thread-safe. Decoding of the answer happens in the first call that looks at it.

    Args:
        tracker: where the operation stands.
        decode: turns what `_settle` is given into the result; run once, by the first reader.
        on_cancel: makes the future cancellable; called once, with the future, after it was cancelled.
        delivery: what runs the callbacks.
    """

    def __init__(
        self,
        tracker: Tracker,
        *,
        decode: Callable[[Any], T] | None = None,
        on_cancel: Callable[[APIFuture[T]], None] | None = None,
        delivery: Delivery = default_delivery,
    ) -> None:
        super().__init__()
        self._epoch = forks.epoch
        self._tracker = tracker
        self._decode = decode
        self._on_cancel = on_cancel
        self._delivery = delivery
        self._looked_at = False
        self._accepted: APIFuture[str | None] | None = None
        self._accepted_id: str | None = None
        # Waiting threads, waiting event loops, callbacks.
        self._gates: Sequence[Any] = _NOBODY
        self._loop_waiters: Sequence[Any] = _NOBODY
        self._done_callbacks: Sequence[Any] = _NOBODY

    @property
    def _waiters(self) -> list[Any]:  # type: ignore[override]
        """Where the standard library leaves word, after it has looked at the state.

        Raises:
            ForkedError: the result is awaited by the parent of this process, and will never be here.
        """
        if self._epoch != forks.epoch and self._state not in DECIDED:
            raise forks.forked_error(self._tracker.what)
        return super()._waiters

    # ------------------------------------------------------------ reading

    def result(self, timeout: float | None = None) -> T:
        """Wait for the result and return it.

        Args:
            timeout: seconds to wait; None waits as long as the operation's own limits let it.

        Raises:
            DeadlineExceededError: `timeout` is over; the operation goes on, and so does this future.
            WouldDeadlockError: called on one of the runtime's own threads before the result is there.
            CancelledError: the future was cancelled.
            TinkerError: the operation failed.
        """
        self._wait(timeout)
        self._looked_at = True
        if self._exception is None and self._state == states.FINISHED:
            result: T = self._result
            return result
        self._tell()
        raise concurrent.futures.CancelledError if self._exception is None else fresh(self._exception)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end and return the error, or None after success. Raises as `result` for the waiting.

        Each call returns an error of its own: raising it leaves nothing at the future.
        """
        self._wait(timeout)
        self._looked_at = True
        if self._state != states.FINISHED:
            raise concurrent.futures.CancelledError
        self._tell()
        return None if self._exception is None else fresh(self._exception)

    def get(self, *, timeout: float | None = None) -> T:
        """Wait for the result, in pykka's words; see `result`.

        Raises:
            pykka.Timeout: `timeout` seconds are over.
        """
        try:
            return self.result(timeout)
        except DeadlineExceededError as error:
            if error.future is self:
                raise pykka.Timeout(str(error)) from error
            raise  # the operation's own

    def __await__(self) -> Generator[Any, None, T]:
        return self._wait_on_loop().__await__()

    async def result_async(self, timeout: float | None = None) -> T:  # noqa: ASYNC109 - the official signature
        """Await the result. `timeout` as in `result`, in seconds: it ends the waiting, never the operation."""
        return await self._wait_on_loop(timeout)

    def coroutine(self) -> Coroutine[Any, Any, T]:
        """Return a coroutine that awaits the result, for `asyncio.gather` and `create_task`."""
        return self._wait_on_loop()

    def future(self) -> concurrent.futures.Future[T]:
        """Return the `concurrent.futures.Future`, which is this object."""
        return self

    # ------------------------------------------------------------ about the operation

    @property
    def request_id(self) -> str | None:
        """The server's id of the request, once it accepted it."""
        return self._tracker.request_id

    def progress(self) -> Progress:
        """Return what the operation waits for, since when, and after how many attempts. Never waits."""
        return self._tracker.read()

    @property
    def accepted(self) -> APIFuture[str | None]:
        """A future of the moment of ordering: settled with the request id when the server accepted the operation.

        It fails with the operation's error when that comes first.
        """
        if self._epoch != forks.epoch:
            self._inherit()
        with self._condition:
            if self._accepted is None:
                self._accepted = _Acceptance(self._tracker, delivery=self._delivery)
                self._accepted._looked_at = True  # whoever looks at the operation hears of the failure
                if self._accepted_id is not None:
                    self._accepted._settle(self._accepted_id)
                elif self._state in DECIDED:
                    self._settle_accepted(self._accepted)
            return self._accepted

    def pipe_to(self, ref: Ref, wrap: Callable[..., Any]) -> None:
        """Tell an actor when the future is done: `wrap(result=..., error=None)` or `wrap(result=None, error=...)`.

        Runs on the delivery thread. A warning is logged when the actor is gone by then.
        """

        def deliver(done: concurrent.futures.Future[T]) -> None:
            error = concurrent.futures.CancelledError() if done.cancelled() else done.exception()
            message = wrap(result=None if error else done.result(), error=error)
            if not tell(ref, message):
                logger.warning("%s is gone; the result of %s was not delivered", ref, self._tracker.what)

        self.add_done_callback(deliver)

    # ------------------------------------------------------------ callbacks and cancelling

    def add_done_callback(self, fn: Callable[[concurrent.futures.Future[T]], object]) -> None:
        """Call `fn(future)` when done, on the delivery thread; an exception in it is logged and harms nothing."""
        if self._epoch != forks.epoch:
            self._inherit()
        with self._condition:
            if self._state not in DECIDED:
                self._done_callbacks = [*self._done_callbacks, fn]
                return
        self._delivery.post(partial(self._run, fn))

    def cancel(self) -> bool:
        """Cancel a sample: its work on the server is stopped. Other operations can't be cancelled.

        Returns:
            Whether the future is cancelled now.
        """
        if self._epoch != forks.epoch:
            self._inherit()
        on_cancel = self._on_cancel
        if on_cancel is not None and self._finish(states.CANCELLED_AND_NOTIFIED, None, None):
            on_cancel(self)
        return self.cancelled()

    # ------------------------------------------------------------ for the runtime

    def _settle(self, value: Any = None, error: BaseException | None = None) -> bool:
        """Set the outcome, once; later calls do nothing and return False. Callable from any thread."""
        return self._finish(states.FINISHED, value, error)

    def _accept(self, request_id: str) -> None:
        """Note that the server accepted the whole operation; a part of it shows in the tracker only."""
        self._tracker.request_id = request_id
        with self._condition:
            self._accepted_id = request_id
            accepted = self._accepted
        if accepted is not None:
            accepted._settle(request_id)

    def _finish(self, state: str, value: Any, error: BaseException | None) -> bool:
        with self._condition:
            if self._state in DECIDED:
                return False
            self._result = value
            if error is not None:
                # Where it was noticed is of no use to a reader, and those frames hold the actor that noticed it.
                self._exception = cast("Exception", error.with_traceback(None))
            if error is not None or state != states.FINISHED:
                self._decode = None
            self._on_cancel = None
            self._state = state
            self._note_end()
            if self._library_waiters:
                self._tell_library(self._library_waiters)
            gates, callbacks, loop_waiters = self._gates, self._done_callbacks, self._loop_waiters
            self._gates = _NOBODY
            accepted = self._accepted
        if accepted is not None:
            # Without our lock: who waits for both futures holds the locks of both for a moment, in an order of his own.
            self._settle_accepted(accepted)
        if gates:
            for gate in gates:
                gate.release()
        if loop_waiters:
            self._loop_waiters = _NOBODY
            for bridge, waiter in loop_waiters:
                bridge.wake(waiter)
        if callbacks:
            self._done_callbacks = _NOBODY
            for fn in callbacks:
                self._delivery.post(partial(fn, self) if error is None else partial(self._run, fn))
        return True

    def _run(self, fn: Callable[[APIFuture[T]], object]) -> None:
        if not isinstance(fn, Inner):
            self._tell()
        fn(self)

    def _tell(self) -> None:
        """Note that the user is given the failure: `TinkerError.on_told`. Not on the way of a success."""
        told = getattr(self._exception, "on_told", None)
        if told is not None and self._epoch == forks.epoch:
            told()

    def _failure(self) -> BaseException | None:
        """Return the error of a decided future, or None; by this the user is told nothing."""
        self._wait(0)
        return self._exception

    def _note_end(self) -> None:
        self._tracker.enter("done", self._tracker.since)

    def _settle_accepted(self, accepted: APIFuture[str | None]) -> None:
        error = concurrent.futures.CancelledError() if self.cancelled() else self._exception
        accepted._settle(self._tracker.request_id, error)

    # ------------------------------------------------------------ waiting

    def _wait(self, timeout: float | None) -> None:
        if self._epoch != forks.epoch:
            self._inherit()
        if self._state not in DECIDED:
            if on_own_thread():
                raise WouldDeadlockError(f"Waited for {self._tracker.what} on a thread of the runtime.")
            if not self._pass_gate(timeout):
                raise self._too_late(timeout)
        if self._decode is not None and self._state == states.FINISHED:
            self._decode_once()

    def _inherit(self) -> None:
        """Begin anew in a forked child: nobody here settles what the parent began, nor lets go of the locks it held."""
        self._condition = threading.RLock()  # type: ignore[assignment]
        self._epoch = forks.epoch
        self._gates = self._loop_waiters = self._done_callbacks = _NOBODY
        self._library_waiters = None
        self._settle(error=forks.forked_error(self._tracker.what))

    def _leave_gate(self, gate: Any) -> bool:
        """Have `gate.release()` called by whoever decides the future; return False when it is decided already."""
        with self._condition:
            if self._state in DECIDED:
                return False
            self._gates = (*self._gates, gate)
            return True

    def _pass_gate(self, timeout: float | None) -> bool:
        """Wait on a lock that the outcome opens; return whether it did."""
        gate = threading.Lock()
        gate.acquire()
        if not self._leave_gate(gate):
            return True
        try:
            # A lock takes no negative and no endless number of seconds.
            return gate.acquire(timeout=-1 if timeout is None else min(max(timeout, 0.0), threading.TIMEOUT_MAX))
        finally:
            if self._state not in DECIDED:
                with self._condition:
                    self._gates = tuple(other for other in self._gates if other is not gate)

    def _too_late(self, timeout: float | None) -> DeadlineExceededError:
        return DeadlineExceededError(
            f"No result within {timeout} s ({self._tracker.read().reason}); the operation goes on.",
            future=self,
            request_id=self._tracker.request_id,
            attempts=self._tracker.attempts,
        )

    def _decode_once(self) -> None:
        with self._condition:
            if self._decode is None:
                return
            try:
                self._result = self._decode(self._result)
            except Exception as error:  # whatever the answer holds, it is this future's failure
                self._result = None
                if not isinstance(error, TinkerError):  # a defect: its place as text, because frames hold this future
                    error.add_note("".join(traceback.format_tb(error.__traceback__)))
                self._exception = error.with_traceback(None)
            self._decode = None  # not when the reader was interrupted: then the next one decodes

    async def _wait_on_loop(self, timeout: float | None = None) -> T:  # noqa: ASYNC109 - see result_async
        if self._epoch != forks.epoch:
            self._inherit()
        if self._state not in DECIDED:
            import asyncio  # noqa: PLC0415 - only for those who use it

            loop = asyncio.get_running_loop()
            entry = (bridge_to(loop), loop.create_future())
            with self._condition:
                pending = self._state not in DECIDED
                if pending:
                    self._loop_waiters = [*self._loop_waiters, entry]
            if pending:
                entry[0].waiters += 1
                try:
                    await (entry[1] if timeout is None else asyncio.wait_for(entry[1], timeout))
                except TimeoutError:
                    self._detach(entry)
                    raise self._too_late(timeout) from None
                except asyncio.CancelledError:
                    if self._detach(entry):
                        self.cancel()
                    raise
                finally:
                    entry[0].waiters -= 1
        return self.result(0)

    def _detach(self, entry: Any) -> bool:
        """Forget a waiter; return whether nobody waits any more. A sample is cancelled with its last waiter."""
        with self._condition:
            self._loop_waiters = [other for other in self._loop_waiters if other is not entry]
            return not (self._loop_waiters or self._gates or self._done_callbacks or self._library_waiters)

    def __del__(self) -> None:
        if getattr(self, "_exception", None) is not None and not self._looked_at and self._state == states.FINISHED:
            logger.error("Nobody looked at the failure of %s: %s", self._tracker.what, self._exception)


class _Acceptance(APIFuture["str | None"]):
    """The moment of ordering. It shows the operation's progress, and does not end it."""

    def _note_end(self) -> None:
        pass


def resolved(value: T, what: str = "value") -> APIFuture[T]:
    """Return a future that has its result already."""
    future: APIFuture[T] = APIFuture(Tracker(what, 0.0))
    future._settle(value)
    return future
