"""The desk: what the parts of a lane share.

A lane has three hands (submitting, polling, calling). They share the transport, the table of what is under way, the
clock, the retry rules and the way a story ends. All of it belongs to the lane's thread.
"""

from __future__ import annotations

import random
from typing import Any

import msgspec

from tinker_actors.actors.messages import Suspicion
from tinker_actors.actors.work import Call, Work
from tinker_actors.config import Config
from tinker_actors.errors import SessionLostError, TinkerError
from tinker_actors.protocol.outcomes import Done, Retry
from tinker_actors.protocol.retry import RetryBudget, full_jitter
from tinker_actors.runtime.actor import Executor, Ref, guarded, tell
from tinker_actors.runtime.clock import WallClock
from tinker_actors.runtime.timers import Timer
from tinker_actors.runtime.transport import Transport

Table = dict[int, Work | Call]


class LaneSettings(msgspec.Struct, frozen=True, eq=False):
    """What a lane needs to know; the table and the budget outlive it.

    Attributes:
        name: `"control"`, `"train"` or `"sample"`.
        config: times and limits.
        table: what is under way. Anyone may add to it; only the lane's thread takes out.
        budget: retries, shared by the lanes of one base URL.
        wall: the wall clock, for HTTP dates.
        limited: whether the sampling dispatch limits hold.
    """

    name: str
    config: Config
    table: Table
    budget: RetryBudget
    wall: WallClock
    limited: bool


class Desk:
    """Shared by the parts of one lane; used on its thread only."""

    def __init__(self, settings: LaneSettings, executor: Executor, transport: Transport) -> None:
        self.settings = settings
        self.config = settings.config
        self.table = settings.table
        self.budget = settings.budget
        self.executor = executor
        self.timers = executor.timers
        self.transport = transport
        self.random = random.Random(settings.config.seed)  # noqa: S311 - jitter, not a secret
        self.ref: Ref | None = None

    def now(self) -> float:
        """Return the monotonic time in seconds."""
        return self.executor.clock.now()

    def later(self, delay: float, callback: Any) -> Timer:
        """Run `callback` after `delay` seconds, on the lane's thread."""
        return self.timers.call_at(self.now() + delay, callback)

    def backoff(self, failures: int, retry: Retry) -> float:
        """Return how long to wait before an attempt is repeated, and charge the budget for it."""
        now = self.now()
        owed = self.budget.delay_before_retry("throttle" if retry.kind == "throttle" else "transient", now)
        drawn = full_jitter(failures, self.random.random())
        return max(owed, drawn, retry.after or 0.0)

    # ------------------------------------------------------------ how stories end

    def forget(self, item: Work | Call) -> bool:
        """Take an item out of the table, its timer and request with it; return whether it was there."""
        if self.table.pop(item.id, None) is None:
            return False
        if item.timer is not None:
            item.timer.cancel()
            item.timer = None
        if item.ticket is not None:
            item.ticket.cancel()
            item.ticket = None
        if isinstance(item, Work):
            item.state = "done"
        return True

    def finish(self, item: Work | Call, outcome: Done) -> None:
        """End a story well."""
        if not self.forget(item):
            return
        self.budget.succeeded(self.now())
        if isinstance(item, Work):
            guarded(lambda: item.sink.done(item, outcome), item.tracker.what)
        else:
            guarded(lambda: item.on_done(outcome), item.what)

    def fail(self, item: Work | Call, error: TinkerError) -> None:
        """End a story badly."""
        if not self.forget(item):
            return
        if isinstance(item, Work):
            error.attempts = max(error.attempts, item.tracker.attempts)
            error.request_id = error.request_id or item.request_id
            guarded(lambda: item.sink.failed(item, error), item.tracker.what)
        else:
            error.attempts = max(error.attempts, item.failures + 1)
            guarded(lambda: item.on_failed(error), item.what)

    def suspect(self, item: Work | Call, error: TinkerError) -> None:
        """Ask the session whether it is still there, before a 404 or 410 is taken at its word."""
        session = item.session
        if session is None or session.ref is None:
            self.fail(item, error)
            return
        item.error = error
        if isinstance(item, Work):
            item.state = "suspect"
            item.tracker.enter("checking the session", self.now(), str(error))
        assert self.ref is not None
        if not tell(session.ref, Suspicion(error, self.ref, item.id)):
            self.fail(item, SessionLostError(f"The session has ended: {error.message}"))
