"""The lane: a polling worker with a thread of its own.

It submits, polls and calls for thousands of operations at once, and knows nothing of what they mean. What is under way
is in a table that outlives it; a successor takes the table over and resends what was on the wire.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tinker_actors.actors.lane import in_flight
from tinker_actors.actors.lane.cancelling import Cancelling
from tinker_actors.actors.lane.holding import Holding
from tinker_actors.actors.lane.plain_requests import Calling
from tinker_actors.actors.lane.polling import Polling
from tinker_actors.actors.lane.submitting import Submitting
from tinker_actors.actors.lane.table import Desk, LaneSettings, fail_without_lane
from tinker_actors.actors.lane.work import Call, Work
from tinker_actors.actors.messages import (
    Arrived,
    Cancel,
    DropSession,
    Eased,
    Forget,
    HoldSession,
    ResumeSession,
    SamplerChanged,
    Shutdown,
    Verdict,
)
from tinker_actors.errors import DeadlineExceededError, SessionLostError, StalledError, TinkerError
from tinker_actors.net.transport import Transport
from tinker_actors.protocol.work_life import NO_SIGN_OWED, WAITING_HERE
from tinker_actors.runtime.actor import Executor, RuntimeActor

# Works looked at in one turn of the lane.
_ARRIVALS_PER_TURN = 32


class Lane(RuntimeActor):
    """Carries works and calls between the table and the server.

    A `Work` among the arrivals, or a `Call` told to it, must be in the table already.

    Args:
        executor: runs the lane: a thread with a selector, or a simulation.
        settings: name, limits, table and budget.
        connect: makes the transport, on the lane's own thread.
    """

    title = "lane"

    def __init__(self, executor: Executor, settings: LaneSettings, connect: Callable[[], Transport]) -> None:
        super().__init__(executor)
        self._settings = settings
        self._connect = connect
        self._over = False  # whether there will be no successor

    def on_start(self) -> None:
        """Take over the table. Runs on the lane's thread; an exception ends the lane, and a successor tries anew."""
        self._desk = desk = Desk(self._settings, self.executor, self._connect())
        desk.ref = self.actor_ref
        desk.settings.limits.join(self.actor_ref)
        desk.polling = self._polling = Polling(desk)
        desk.submitting = self._submitting = Submitting(desk, self._polling)
        self._calling = Calling(desk)
        desk.cancelling = Cancelling(desk, self._calling)
        desk.holding = Holding(desk, self._calling)
        self._looking = False
        # Before the table is looked at: whoever is not told of from now on is in the table by then.
        desk.settings.arrivals.begin()
        items = list(desk.table.values())
        in_flight.recount(item for item in items if isinstance(item, Work))
        for item in items:
            self._adopt(item)
        desk.go_on()
        self._schedule_check()

    def receive(self, message: Any) -> Any:
        """Handle a message; see `messages`."""
        kind = type(message)
        if kind is Arrived:
            self._look_at_arrivals()
        elif kind is Call:
            if message.first_sent is None and message.id in self._desk.table:
                message.holder = self._desk
                self._calling.begin(message)
        elif kind is SamplerChanged:
            self._submitting.unpark(message.key)
        elif kind is Eased:
            self._desk.retrying.go_on()
            self._desk.go_on()
        elif kind is Cancel:
            self._cancel(message.work_id)
        elif kind is Verdict:
            self._judge(message)
        elif kind is HoldSession or kind is ResumeSession or kind is DropSession:
            self._desk.holding.hear(message)
            self._desk.go_on()
        elif kind is Forget:
            self._forget(message.work_ids)
        elif kind is Shutdown:
            self._over = True
            self.end(message.error)
        else:
            super().receive(message)

    def describe(self) -> str:
        """Return the counts of what is under way."""
        parked, queued, submitting = self._submitting.counts()
        polls, turns = self._polling.counts()
        return (
            f"{len(self._desk.table)} under way: {parked} parked, {queued} queued, {submitting} being submitted, "
            f"{polls} polled, {turns} waiting for a connection; {self._desk.transport!r}"
        )

    def settle(self, error: TinkerError) -> None:
        """Close the connections. What was on them is resent by the successor, or fails when there will be none."""
        if not hasattr(self, "_desk"):  # it was ended before it began
            if self._over:
                fail_without_lane(self._settings.table, error)
            return
        if self._over:
            for item in list(self._desk.table.values()):
                self._desk.fail(item, error.replica())
        self._desk.transport.close()

    # ------------------------------------------------------------ taking what comes

    def _look_at_arrivals(self) -> None:
        self._settings.arrivals.begin()
        if not self._looking:
            self._take_arrivals()

    def _take_arrivals(self) -> None:
        """Look at some of what came; at the rest in the lane's next turn, behind what is more urgent then."""
        self._looking = False
        desk, arrivals = self._desk, self._settings.arrivals
        now = desk.now()
        for _ in range(_ARRIVALS_PER_TURN):
            work = arrivals.take()
            if work is None:
                break
            # It may be in the hands of a successor's predecessor, cancelled, or failed with its session by now.
            if work.state == "new" and work.id in desk.table:
                work.holder = desk
                if work.terms.timeout is not None:
                    self._set_deadline(work)
                self._submitting.take(work, now)
        else:
            self._looking = True
            desk.later(0.0, self._take_arrivals)
        self._submitting.pump()

    def _adopt(self, item: Work | Call) -> None:
        """Begin with an item of the table that a predecessor may have been busy with."""
        item.holder = self._desk
        item.timer = item.ticket = item.deadline = None
        if isinstance(item, Call):
            item.aside = ""
            self._calling.begin(item)
            return
        item.channel = None
        item.size = 0
        item.in_doubt = item.in_doubt or item.state == "submitting"
        self._set_deadline(item)
        if item.request_id is not None:
            self._desk.request_ids.take(item.request_id, item.first_sent or 0.0, item)
        if item.at_server or (item.state == "held" and item.request_id is not None):
            self._submitting.adopt(item)
        if item.session is not None and item.session.error is not None and self._desk.holding.stops(item):
            return
        if item.state == "suspect" and item.error is not None:
            self._desk.suspect(item, item.error)
        else:
            self._desk.holding.begin_again(item, self._desk.now())

    def _set_deadline(self, work: Work) -> None:
        terms = work.terms
        if terms.timeout is None:
            return
        due = work.tracker.born + terms.timeout
        if terms.until_accepted:
            self._desk.expect(work, due, partial(self._not_accepted, work))
        else:
            work.deadline = self._desk.timers.call_at(due, partial(self._too_late, work))

    # ------------------------------------------------------------ endings

    def _too_late(self, work: Work) -> None:
        """Drop a work whose time is over, and tell the server."""
        if work.holder is not self._desk or work.state == "done":
            return
        self._desk.give_up(work, _late(work, self._desk.now()))
        self._desk.go_on()

    def _not_accepted(self, work: Work) -> None:
        """Give a work up whose time to be accepted is over, with what went wrong last."""
        if work.request_id is None:
            self._desk.give_up(work, work.error or _late(work, self._desk.now()))
            self._desk.go_on()

    def _cancel(self, work_id: int) -> None:
        work = self._held(work_id)
        if work is not None:
            self._desk.give_up(work, None)
        self._desk.go_on()
        self._look_at_arrivals()  # who gives up because he was interrupted may have put work there and told nobody

    def _forget(self, work_ids: tuple[int, ...]) -> None:
        for work in map(self._held, work_ids):
            if work is not None:
                self._desk.forget(work)
        self._desk.go_on()

    def _held(self, work_id: int) -> Work | None:
        """Return a work that is in the table and this lane's, or None."""
        work = self._desk.table.get(work_id)
        if not isinstance(work, Work) or work.holder not in (None, self._desk):
            return None  # over, or a successor's: this lane was thought stuck
        work.holder = self._desk  # it may not have been looked at yet
        return work

    def _judge(self, verdict: Verdict) -> None:
        item = self._desk.table.get(verdict.item_id)
        if item is None or item.error is None or not _is_suspect(item):
            return
        if not verdict.alive:
            self._desk.fail(item, SessionLostError(f"The session was lost: {item.error.message}"))
        elif isinstance(item, Work) and self._renewed(item, item.error):
            self._submitting.take_later(item, "the server forgot it")
        else:
            self._desk.fail(item, item.error)
        self._desk.go_on()

    def _renewed(self, work: Work, error: TinkerError) -> bool:
        """Have a forgotten work become a new one, if it may."""
        forgotten = work.request_id
        self._submitting.left_server(work)
        if not self._desk.renewed(work, error):
            return False
        assert forgotten is not None
        self._desk.request_ids.free(forgotten)
        return True

    # ------------------------------------------------------------ liveness

    def _schedule_check(self) -> None:
        self._desk.later(self._desk.check_every, self._check_liveness)

    def _check_liveness(self) -> None:
        now, limit = self._desk.now(), self._desk.config.liveness_limit
        self._desk.catch_up(now)
        for item in list(self._desk.table.values()):
            if not isinstance(item, Work) or item.last_sign is None:
                continue
            if item.paused or item.state in NO_SIGN_OWED:
                item.last_sign = now
            elif item.state not in WAITING_HERE and now - item.last_sign > limit:
                self._desk.give_up(item, _stalled(item, now, limit))
        self._polling.hearing.look_after(now)
        # Whoever was to tell of them may have been interrupted (Ctrl-C) before he did.
        self._look_at_arrivals()
        self._desk.go_on()
        self._schedule_check()


def _is_suspect(item: Work | Call) -> bool:
    return item.state == "suspect" if isinstance(item, Work) else item.aside == "suspect"


def _late(work: Work, now: float) -> DeadlineExceededError:
    return DeadlineExceededError(
        f"The {work.terms.timeout:g} s given for {work.tracker.what} are over. {work.tracker.history(now)}.",
        request_id=work.request_id,
        attempts=work.tracker.attempts,
        outcome="not_applied" if work.first_sent is None else "unknown",
    )


def _stalled(work: Work, now: float, limit: float) -> StalledError:
    silence = now - (work.last_sign or now)
    return StalledError(
        f"The server gave no sign of {work.tracker.what} for {silence:.1f} s (limit {limit:g} s). "
        f"{work.tracker.history(now)}.",
        request_id=work.request_id,
        attempts=work.tracker.attempts,
        outcome="not_applied" if work.first_sent is None else "unknown",
        advice="Check that the server is running; whether the operation was applied is not known.",
    )
