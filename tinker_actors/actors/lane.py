"""The lane: a polling worker with a thread of its own.

It submits, polls and calls for thousands of operations at once, and knows nothing of what they mean. What is under way
is in a table that outlives it; a successor takes the table over and resends what was on the wire.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinker_actors.actors.calling import Calling
from tinker_actors.actors.desk import Desk, LaneSettings
from tinker_actors.actors.messages import Cancel, DropSession, SamplerChanged, Shutdown, Verdict
from tinker_actors.actors.polling import Polling
from tinker_actors.actors.submitting import Submitting
from tinker_actors.actors.work import Call, SessionLink, Work
from tinker_actors.errors import SessionLostError, StalledError, TinkerError
from tinker_actors.protocol.codec import encode
from tinker_actors.protocol.endpoints import ENDPOINTS
from tinker_actors.runtime.actor import Executor, RuntimeActor, logger
from tinker_actors.runtime.transport import Transport

# The liveness limit is looked at this many times within itself, but at least every 5 s.
_CHECKS_PER_LIMIT = 10
_SLOWEST_CHECK = 5.0
# A server that forgets an operation this often is not going to remember it.
_MOST_RENEWALS = 5


class Lane(RuntimeActor):
    """Carries works and calls between the table and the server.

    A `Work` or `Call` told to it must be in the table already; the message only says that it is there.

    Args:
        executor: runs the lane: a thread with a selector, or a simulation.
        settings: name, limits, table and budget.
        connect: makes the transport, on the lane's own thread.
    """

    def __init__(self, executor: Executor, settings: LaneSettings, connect: Callable[[], Transport]) -> None:
        super().__init__(executor)
        self._settings = settings
        self._connect = connect

    def on_start(self) -> None:
        """Take over the table. Runs on the lane's thread; an exception ends the lane, and a successor tries anew."""
        self._desk = desk = Desk(self._settings, self.executor, self._connect())
        desk.ref = self.actor_ref
        self._polling = Polling(desk)
        self._submitting = Submitting(desk, self._polling)
        self._calling = Calling(desk)
        for item in list(desk.table.values()):
            self._adopt(item)
        limit = desk.config.liveness_limit
        self._check_every = min(limit / _CHECKS_PER_LIMIT, _SLOWEST_CHECK)
        self._schedule_check()

    def receive(self, message: Any) -> Any:
        """Handle a message; see `messages`."""
        if type(message) is Work:
            if message.state == "new" and message.id in self._desk.table:
                message.holder = self._desk
                self._submitting.take(message)
        elif type(message) is Call:
            if message.first_sent is None and message.id in self._desk.table:
                message.holder = self._desk
                self._calling.send(message)
        elif isinstance(message, SamplerChanged):
            self._submitting.unpark(message.key)
        elif isinstance(message, Cancel):
            self._cancel(message.work_id)
        elif isinstance(message, Verdict):
            self._judge(message)
        elif isinstance(message, DropSession):
            self._drop_session(message.session, message.error)
        elif isinstance(message, Shutdown):
            for item in list(self._desk.table.values()):
                self._desk.fail(item, message.error.replica())
            self.stop()
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

    def on_stop(self) -> None:
        """Close the connections. Runs on the lane's thread."""
        if hasattr(self, "_desk"):
            self._desk.transport.close()

    def on_failure(self, *_: Any) -> None:
        """Close the connections; what was on them is resent by the successor. Runs on the lane's thread."""
        if hasattr(self, "_desk"):
            self._desk.transport.close()

    # ------------------------------------------------------------ taking over

    def _adopt(self, item: Work | Call) -> None:
        """Begin with an item of the table that a predecessor may have been busy with."""
        item.holder = self._desk
        item.timer = item.ticket = None
        if isinstance(item, Call):
            self._calling.send(item)
        elif item.state == "suspect" and item.error is not None:
            self._desk.suspect(item, item.error)
        elif item.request_id is not None:
            self._polling.begin(item)
        else:
            item.state = "new"
            self._submitting.take(item)

    # ------------------------------------------------------------ endings

    def _cancel(self, work_id: int) -> None:
        work = self._desk.table.get(work_id)
        if not isinstance(work, Work):
            return
        request_id, polled = work.request_id, work.state == "polling" and work.ticket is not None
        submitted = work.state == "submitting"
        self._desk.forget(work)
        if submitted:
            # Its number was on the wire; the server will finish it, and nobody will ask for the result.
            self._submitting.dispatch.answered(work.charge)
        if polled:
            self._polling.released()
        if request_id is not None:
            self._tell_server(request_id)
        self._submitting.pump()

    def _tell_server(self, request_id: str) -> None:
        endpoint = ENDPOINTS["cancel_future"]
        call = Call(
            "cancel_future",
            endpoint.method,
            endpoint.path,
            encode({"request_id": request_id}),
            on_done=lambda _: None,
            on_failed=lambda error: logger.debug("The server did not cancel %s: %s", request_id, error),
            retried=False,
        )
        call.holder = self._desk
        self._desk.table[call.id] = call
        self._calling.send(call)

    def _judge(self, verdict: Verdict) -> None:
        item = self._desk.table.get(verdict.item_id)
        if item is None or item.error is None:
            return
        if not verdict.alive:
            self._desk.fail(item, SessionLostError(f"The session was lost: {item.error.message}"))
        elif isinstance(item, Work) and self._renewed(item, item.error):
            self._submitting.take_later(item)
        else:
            self._desk.fail(item, item.error)

    def _renewed(self, work: Work, error: TinkerError) -> bool:
        """Have the sink give a forgotten work a new head, unless the server forgets it again and again."""
        return work.request_id is not None and work.renewals < _MOST_RENEWALS and work.sink.gone(work, error)

    def _drop_session(self, session: SessionLink, error: TinkerError) -> None:
        for item in list(self._desk.table.values()):
            if item.session is session:
                self._end(item, error.replica())

    def _end(self, item: Work | Call, error: TinkerError) -> None:
        """Fail an item wherever it stands, and give back what it held."""
        state, held = (item.state, item.ticket is not None) if isinstance(item, Work) else ("", False)
        self._desk.fail(item, error)
        if state == "submitting" and isinstance(item, Work):
            self._submitting.dispatch.answered(item.charge)
        elif state == "polling" and held:
            self._polling.released()

    # ------------------------------------------------------------ liveness

    def _schedule_check(self) -> None:
        self._desk.later(self._check_every, self._check_liveness)

    def _check_liveness(self) -> None:
        now, limit = self._desk.now(), self._desk.config.liveness_limit
        for item in list(self._desk.table.values()):
            if not isinstance(item, Work) or item.last_sign is None:
                continue
            if item.paused or item.state == "suspect":
                item.last_sign = now
            elif now - item.last_sign > limit:
                self._end(item, _stalled(item, now, limit))
        self._schedule_check()


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
