"""The desk: what the parts of a lane share.

The hands of a lane (submitting, polling, hearing, calling) share the transport, the table of what is under way, the
clock, the retry rules and the way a story ends. All of it belongs to the lane's thread.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from tinker_actors.actors.lane import in_flight
from tinker_actors.actors.lane.arrivals import Arrivals
from tinker_actors.actors.lane.collisions import Collisions
from tinker_actors.actors.lane.retrying import Retrying
from tinker_actors.actors.lane.server_limits import ServerLimits
from tinker_actors.actors.lane.work import Call, Work
from tinker_actors.actors.messages import Suspicion
from tinker_actors.config import Config
from tinker_actors.errors import SessionLostError, TinkerError, fresh
from tinker_actors.net.transport import Transport
from tinker_actors.protocol.endpoints import TYPE_SAMPLE
from tinker_actors.protocol.limits.rounds import Rounds
from tinker_actors.protocol.replies.outcomes import Done
from tinker_actors.protocol.replies.request_ids import RequestIds
from tinker_actors.runtime.actor import Executor, Ref, guarded, logger, tell
from tinker_actors.runtime.clock import WallClock
from tinker_actors.runtime.timers import Timer

if TYPE_CHECKING:
    from tinker_actors.actors.lane.cancelling import Cancelling
    from tinker_actors.actors.lane.holding import Holding
    from tinker_actors.actors.lane.polling import Polling
    from tinker_actors.actors.lane.submitting import Submitting

Table = dict[int, Work | Call]

# The liveness limit is looked at this many times within itself, but at least every 5 s.
_CHECKS_PER_LIMIT = 10
_SLOWEST_CHECK = 5.0
# A server that forgets an operation this often is not going to remember it.
_MOST_RENEWALS = 5


def fail_without_lane(table: Table, error: TinkerError) -> None:
    """Fail what is in a table whose lane is gone for good; nobody else would ever tell its callers."""
    for item in list(table.values()):
        if table.pop(item.id, None) is None:
            continue
        failure = fresh(error)
        if isinstance(item, Work):
            in_flight.empty(item)
            guarded(lambda item=item, failure=failure: item.sink.failed(item, failure), item.tracker.what)  # type: ignore[misc]
        else:
            guarded(lambda item=item, failure=failure: item.on_failed(failure), item.what)  # type: ignore[misc]


class LaneSettings(msgspec.Struct, frozen=True, eq=False):
    """What a lane needs to know; table, arrivals and limits outlive it.

    Attributes:
        name: `"control"`, `"train"` or `"sample"`.
        config: times and limits.
        table: what is under way. Anyone may add to it; only the lane's thread takes out.
        limits: of the server, shared by all lanes that use it with one key.
        wall: the wall clock, for HTTP dates.
        limited: whether the sampling dispatch limits hold.
        arrivals: works of the table that the lane has not looked at.
    """

    name: str
    config: Config
    table: Table
    limits: ServerLimits
    wall: WallClock
    limited: bool
    arrivals: Arrivals


class Desk:
    """Shared by the parts of one lane; used on its thread only.

    Attributes:
        now: the monotonic time in seconds.
        check_every: seconds between two looks at who has waited for too long.
        request_ids: those of accepted operations, each of which has its own.
        submitting: the hand that counts what is being submitted and what is at the server.
        polling: the hand that counts polls and fetches.
        cancelling: the hand that tells the server what nobody wants any more.
        holding: the hand that keeps aside what belongs to a lost session.
        retrying: the hand that sends again what failed.
        collisions: the hand that sorts out whose a request id is.
        failing: the endpoints of which the last request failed; empty while all is well, and looked at for that only.
    """

    submitting: Submitting
    polling: Polling
    cancelling: Cancelling
    holding: Holding

    def __init__(self, settings: LaneSettings, executor: Executor, transport: Transport) -> None:
        self.settings = settings
        self.config = settings.config
        self.table = settings.table
        self.request_ids: RequestIds[Work] = RequestIds()
        self.timers = executor.timers
        self.now: Callable[[], float] = executor.clock.now
        self.transport = transport
        self.random = random.Random(settings.config.seed)  # noqa: S311 - jitter, not a secret
        self.ref: Ref | None = None
        self.check_every = min(settings.config.liveness_limit / _CHECKS_PER_LIMIT, _SLOWEST_CHECK)
        self._rounds = Rounds(self.check_every, self.now())
        self._stood_still = 0.0
        self.failing = settings.limits.budget.failing
        self.retrying = Retrying(self)
        self.collisions = Collisions(self)

    def later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Run `callback` after `delay` seconds, on the lane's thread; 0 is the lane's next turn."""
        return self.timers.call_at(self.now() + delay, callback)

    def catch_up(self, now: float) -> None:
        """Take the time in which this lane stood still off every wait. Call it before a wait is judged."""
        lost = self._rounds.lost(now)
        if not lost:
            return
        self._stood_still += lost
        for item in list(self.table.values()):
            if item.first_sent is not None:
                item.first_sent = min(item.first_sent + lost, now)
            if isinstance(item, Work) and item.last_sign is not None:
                item.last_sign = min(item.last_sign + lost, now)

    def expect(self, item: Work | Call, due: float, late: Callable[[], object]) -> None:
        """Have `late` called at a time, unless the item has ended; what this lane stands still until then is added."""
        item.deadline = self.timers.call_at(due, partial(self._due, item, due, self._stood_still, late))

    def _due(self, item: Work | Call, due: float, stood_still: float, late: Callable[[], object]) -> None:
        self.catch_up(self.now())
        if self._stood_still > stood_still:
            self.expect(item, due + self._stood_still - stood_still, late)
        elif item.holder is self and item.id in self.table:
            late()

    # ------------------------------------------------------------ how stories end

    def forget(self, item: Work | Call) -> bool:
        """Take an item out of the table, and give back all it holds; return whether it was there.

        What that makes room for goes when the hands are pumped next.
        """
        if item.holder is not self and item.holder is not None:
            return False  # a successor has it: this lane was thought stuck
        if self.table.pop(item.id, None) is None:
            return False
        self.stop(item)
        if item.deadline is not None:
            item.deadline.cancel()
            item.deadline = None
        if type(item) is Work:
            if item.request_id is not None:
                self.request_ids.end(item.request_id, self.now())
            if item.roomed:
                self.submitting.rooms.leave(item)
            item.state = "done"
        return True

    def stop(self, item: Work | Call) -> None:
        """Give up what is under way for an item, and the places that it takes up here and at the server."""
        if item.timer is not None:
            item.timer.cancel()
            item.timer = None
        ticket = item.ticket
        if ticket is not None:
            ticket.cancel()
            item.ticket = None
        if type(item) is not Work:
            return
        if ticket is not None:
            if item.state == "submitting":
                self.submitting.dropped(item)
            else:
                self.polling.dropped(item)
        if item.channel is not None and item.request_id is not None:
            item.channel.drop(item.request_id)
        if item.at_server:
            self.submitting.left_server(item)

    def finish(self, item: Work | Call, outcome: Done) -> None:
        """End a story well."""
        if not self.forget(item):
            return
        try:
            if type(item) is Work:
                item.sink.done(item, outcome)
            else:
                item.on_done(outcome)  # type: ignore[union-attr]
        except BaseException:
            logger.exception("The receiver of a result failed")

    def fail(self, item: Work | Call, error: TinkerError) -> None:
        """End a story badly."""
        if not self.forget(item):
            return
        try:
            if isinstance(item, Work):
                error.attempts = max(error.attempts, item.tracker.attempts)
                error.request_id = error.request_id or item.request_id
                item.sink.failed(item, error)
            else:
                error.attempts = max(error.attempts, item.attempts)
                item.on_failed(error)
        except BaseException:
            logger.exception("The receiver of a failure failed")

    def give_up(self, work: Work, error: TinkerError | None) -> None:
        """End a story that may go on at the server, which is told to cancel it if it is that of a sample.

        Args:
            work: in the table, and held here.
            error: what to fail it with; None when its owner has decided its end.
        """
        submission = self.cancelling.take_over(work) if work.tail.request_type == TYPE_SAMPLE else None
        if error is None:
            self.forget(work)
        else:
            self.fail(work, error)
        if submission is not None:
            work.holder = submission  # who hears of the answer

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
        else:
            item.aside = "suspect"
        assert self.ref is not None
        if not tell(session.ref, Suspicion(error, self.ref, item.id)):
            self.fail(item, SessionLostError(f"The session has ended: {error.message}"))

    def worn_out(self, work: Work) -> bool:
        """Count a repetition of a request; return whether the work's terms allow no more of them."""
        retries = work.terms.retries
        if retries is not None and work.repeats >= retries:
            return True
        work.repeats += 1
        return False

    def renewed(self, work: Work, error: TinkerError) -> bool:
        """Have the sink give a work that was accepted a new head, unless that was done again and again."""
        if work.request_id is None or work.renewals >= _MOST_RENEWALS or self.worn_out(work):
            return False
        return work.sink.gone(work, error)

    def go_on(self) -> None:
        """Let go what an end made room for."""
        if self.collisions.held:
            self.collisions.look()
        submitting, polling = self.submitting, self.polling
        if submitting.line.length or submitting.rooms.left:
            submitting.pump()
        if polling.turns.waiting.length or polling.fetch_line.length:
            polling.pump()
