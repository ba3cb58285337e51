"""Futures: one object for threads, asyncio, callbacks and actors.

`APIFuture` is a `concurrent.futures.Future` that is running from birth, so that `asyncio.wait_for` or a cancelled
task can only stop waiting, never the operation. Only futures made with `on_cancel` (samples) can be cancelled.
"""

from __future__ import annotations

import concurrent.futures
import logging
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import _base as states
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pykka

from tinker_actors.errors import DeadlineExceededError, WouldDeadlockError, fresh
from tinker_actors.runtime import forks
from tinker_actors.runtime.actor import Ref, tell
from tinker_actors.runtime.decoding import decoded, lock_of
from tinker_actors.runtime.delivery import Delivery, Inner, bridge_to, default_delivery
from tinker_actors.runtime.failed_future import FailedFuture
from tinker_actors.runtime.gate import Gate
from tinker_actors.runtime.outcome import UNDECIDED, Outcome
from tinker_actors.runtime.progress import Progress, Tracker
from tinker_actors.runtime.pykka_future import PykkaFuture
from tinker_actors.runtime.threads import on_own_thread

logger = logging.getLogger("tinker_actors")

T = TypeVar("T")


class APIFuture(FailedFuture[T], PykkaFuture[T], Generic[T]):  # type: ignore[misc]
    """The result of an operation, now or later.

    Works with `concurrent.futures.wait` and `as_completed`, with `await` on any event loop, with callbacks, with actors
    and, being pykka's, with `pykka.get_all`. All methods are thread-safe, and may be called by signal handlers,
    whatever they interrupted. Decoding of the answer happens in the first call that looks at it.

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
        # No `super().__init__()`: the base classes have nothing to make, see `LibraryFuture`.
        self._epoch = forks.epoch
        self._tracker = tracker
        self._decode = decode
        self._on_cancel = on_cancel
        self._delivery = delivery

    # In an instance only what is needed there.
    _accepted: APIFuture[str | None] | None = None
    _accepted_id: str | None = None

    if not TYPE_CHECKING:  # see LibraryFuture

        @property
        def _waiters(self) -> Any:
            """Where the standard library leaves word, after it has looked at the state.

            Raises:
                ForkedError: the result is awaited by the parent of this process, and will never be here.
            """
            if self._epoch != forks.epoch and self._outcome is None:
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
        state, result, error = self._read(timeout)
        self._looked_at = True
        if error is None and state == states.FINISHED:
            value: T = result
            return value
        self._tell()
        raise concurrent.futures.CancelledError if error is None else fresh(error)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end and return the error, or None after success. Raises as `result` for the waiting.

        Each call returns an error of its own: raising it leaves nothing at the future.
        """
        state, _, error = self._read(timeout)
        self._looked_at = True
        if state != states.FINISHED:
            raise concurrent.futures.CancelledError
        self._tell()
        return None if error is None else fresh(error)

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
        accepted = self._accepted
        if accepted is None:
            made: APIFuture[str | None] = _Acceptance(self._tracker, delivery=self._delivery)
            made._looked_at = True  # whoever looks at the operation hears of the failure
            made._counted = False
            accepted = self.__dict__.setdefault("_accepted", made)
            if self._accepted_id is not None:
                accepted._settle(self._accepted_id)
            elif self._outcome is not None:
                self._settle_accepted(accepted)
        return accepted

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
        waiting: list[Any] = [fn]
        self._watch(lambda: self._delivery.post(partial(self._run, waiting)))

    def cancel(self) -> bool:
        """Cancel a sample: its work on the server is stopped. Other operations can't be cancelled.

        Returns:
            Whether the future is cancelled now.
        """
        if self._epoch != forks.epoch:
            self._inherit()
        if self._on_cancel is not None:
            self._finish((states.CANCELLED_AND_NOTIFIED, None, None))
        return self.cancelled()

    # ------------------------------------------------------------ for the runtime

    def _settle(self, value: Any = None, error: BaseException | None = None) -> bool:
        """Set the outcome, once; later calls do nothing and return False. Callable from any thread."""
        # Where an error was noticed is of no use to a reader, and those frames hold the actor that noticed it.
        return self._finish((states.FINISHED, value, None if error is None else error.with_traceback(None)))

    def _accept(self, request_id: str) -> None:
        """Note that the server accepted the whole operation; a part of it shows in the tracker only."""
        self._tracker.request_id = request_id
        self._accepted_id = request_id
        if self._accepted is not None:
            self._accepted._settle(request_id)

    def _finish(self, outcome: Outcome) -> bool:
        try:
            if self.__dict__.setdefault("_outcome", outcome) is not outcome:  # atomic: one call into the interpreter
                return False
            self._announce()
        except BaseException:
            # An interrupt (Ctrl-C) of the thread that cancels: what is decided is told all the same.
            if self._outcome is outcome:
                self._delivery.post(self._announce)
            raise
        return True

    def _announce(self) -> None:
        """Do what follows from the outcome. May be run again, or by two threads: what is done is not done twice."""
        state, _, error = self._outcome or UNDECIDED
        if error is not None or state != states.FINISHED:
            self._decode = None
            if error is not None:
                self._note_failure(error)
        on_cancel = self._on_cancel
        if on_cancel is not None:
            if state != states.FINISHED:
                on_cancel(self)
            self._on_cancel = None
        self._note_end()
        if self._accepted is not None:
            self._settle_accepted(self._accepted)
        if self._watchers:
            self._tell_watchers()
        if self._library is not None:
            self._library.tell()

    def _run(self, waiting: list[Callable[[APIFuture[T]], object]]) -> None:
        """Run a callback, if it was not run yet. On the delivery thread."""
        if waiting:
            fn = waiting.pop()
            if (self._outcome or UNDECIDED)[2] is not None and not isinstance(fn, Inner):
                self._tell()
            fn(self)

    def _tell(self) -> None:
        """Note that the user is given the failure: `TinkerError.on_told`. Not on the way of a success."""
        told = getattr(self._exception, "on_told", None)
        if told is not None and self._epoch == forks.epoch:
            told()

    def _failure(self) -> BaseException | None:
        """Return the error of a decided future, or None; by this the user is told nothing."""
        return self._read(0)[2]

    def _note_end(self) -> None:
        self._tracker.end()

    def _settle_accepted(self, accepted: APIFuture[str | None]) -> None:
        error = concurrent.futures.CancelledError() if self.cancelled() else self._exception
        accepted._settle(self._tracker.request_id, error)

    # ------------------------------------------------------------ waiting

    def _read(self, timeout: float | None) -> Outcome:
        """Wait for the outcome and return it, decoded."""
        if self._epoch != forks.epoch:
            self._inherit()
        if self._outcome is None:
            if on_own_thread():
                raise WouldDeadlockError(f"Waited for {self._tracker.what} on a thread of the runtime.")
            if not self._pass_gate(timeout):
                raise self._too_late(timeout)
        if self._decode is not None:
            self._decode_once()
        outcome = self._outcome
        assert outcome is not None
        return outcome

    def _inherit(self) -> None:
        """Begin anew in a forked child: nobody here settles what the parent began, nor lets go of the locks it held."""
        self._epoch = forks.epoch
        for name in ("_watchers", "_library"):
            self.__dict__.pop(name, None)
        self._settle(error=forks.forked_error(self._tracker.what))

    def _pass_gate(self, timeout: float | None) -> bool:
        """Wait at a gate that the outcome opens; return whether it did."""
        gate = Gate()
        self._watch(gate.open)
        try:
            return gate.wait(timeout)
        finally:
            if self._outcome is None:
                self._unwatch(gate.open)

    def __repr__(self) -> str:
        progress, outcome = self._tracker.read(), self._outcome
        state = progress.reason if not progress.detail else f"{progress.reason}: {progress.detail}"
        if outcome is not None:  # which nobody has looked at by that
            state = "cancelled" if outcome[0] != states.FINISHED else "done"
            state = state if outcome[2] is None else f"failed: {outcome[2]!r}"
        return f"<APIFuture of {progress.what}: {state}>"

    def _too_late(self, timeout: float | None) -> DeadlineExceededError:
        progress = self._tracker.read()
        why = f"; last: {progress.detail}" if progress.detail else ""
        return DeadlineExceededError(
            f"No result of {progress.what} within {timeout} s ({progress.reason}{why}); the operation goes on.",
            future=self,
            request_id=self._tracker.request_id,
            attempts=self._tracker.attempts,
        )

    def _decode_once(self) -> None:
        # In one line: an interrupt leaves it before or behind.
        with lock_of(self): self._decode_now()  # noqa: E701  # fmt: skip

    def _decode_now(self) -> None:
        if self._decode is not None and self._outcome is not None:
            # Both at once, and not when the reader was interrupted: then the next one decodes.
            self._outcome, self._decode = decoded(self._outcome, self._decode), None

    async def _wait_on_loop(self, timeout: float | None = None) -> T:  # noqa: ASYNC109 - see result_async
        if self._epoch != forks.epoch:
            self._inherit()
        if self._outcome is None:
            import asyncio  # noqa: PLC0415 - only for those who use it

            loop = asyncio.get_running_loop()
            bridge, waiter = bridge_to(loop), loop.create_future()
            wake = partial(bridge.wake, waiter)
            bridge.waiters += 1
            self._watch(wake)
            try:
                await (waiter if timeout is None else asyncio.wait_for(waiter, timeout))
            except TimeoutError:
                self._unwatch(wake)
                raise self._too_late(timeout) from None
            except asyncio.CancelledError:
                self._unwatch(wake)
                # A sample is cancelled with its last waiter.
                if not (self._watchers or self._library):
                    self.cancel()
                raise
            finally:
                bridge.waiters -= 1
        return self.result(0)


class _Acceptance(APIFuture["str | None"]):
    """The moment of ordering. It shows the operation's progress, and does not end it."""

    def _note_end(self) -> None:
        pass


def resolved(value: T, what: str = "value") -> APIFuture[T]:
    """Return a future that has its result already."""
    future: APIFuture[T] = APIFuture(Tracker(what, 0.0))
    future._settle(value)
    return future
