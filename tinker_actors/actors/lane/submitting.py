"""Submitting: how work gets accepted by the server.

Work waits for room in its view, for its sampler (parked), for its turn (queued), is sent, and sent again unchanged
until the server accepts or refuses it. A 429 on a sample is no failure: it tells how much the server takes.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tinker_actors.actors.lane.idempotency import idempotency_key
from tinker_actors.actors.lane.in_flight import Rooms
from tinker_actors.actors.lane.table import Desk
from tinker_actors.actors.lane.work import Call, Work
from tinker_actors.actors.messages import EASED
from tinker_actors.errors import APIResponseValidationError, OutcomeUnknownError, TinkerError
from tinker_actors.net.transport import Answer, Reply, Request, Ticket
from tinker_actors.protocol.consequences import answer_lost
from tinker_actors.protocol.endpoints import IDEMPOTENCY_KEY, JSON, SAMPLING_BACKPRESSURE, TYPE_SAMPLE
from tinker_actors.protocol.limits.adaptive import AdaptiveLimit
from tinker_actors.protocol.limits.dispatch import Dispatch
from tinker_actors.protocol.limits.lines import LEAST, Line
from tinker_actors.protocol.limits.retry import full_jitter
from tinker_actors.protocol.replies.outcomes import (
    Accepted,
    Failed,
    Retry,
    Suspect,
    broken_outcome,
    submit_outcome,
)
from tinker_actors.runtime.timers import Timer
from tinker_actors.wording import sentence

if TYPE_CHECKING:
    from tinker_actors.actors.lane.polling import Polling
    from tinker_actors.actors.lane.retrying import Wait

_UNLIMITED = 1 << 60
_SAMPLE = (("Content-Type", JSON), (SAMPLING_BACKPRESSURE, "1"))

# Sent in one turn of the lane, in parts of it that a request takes. What is more urgent, and the answers that came
# meanwhile, have their turn in between; beside urgent work, evaluations leave more of it to them.
_TURN = 16
_PART, _PART_BESIDE_URGENT = 1, 4
# For so long after the last urgent work came, evaluations leave a share of the limits free for the next.
_URGENT_FOR = 30.0
# How often a known limit is looked at while more is waiting than may go.
_LOOK_EVERY = 0.1


class Submitting:
    """The submitting hand of a lane; used on its thread only.

    Attributes:
        line: what is queued.
        rooms: the rooms of views. With neither anybody in line nor a place left in a room, there is nothing to pump.
    """

    def __init__(self, desk: Desk, polling: Polling) -> None:
        self._desk = desk
        self._polling = polling
        config = desk.config
        self._limited = desk.settings.limited
        self._budget, self._window = desk.settings.limits.budget, desk.settings.limits.window
        self.dispatch = (
            Dispatch(config.max_submits, config.throttled_submits, config.dispatch_bytes, self._window)
            if self._limited
            else Dispatch(_UNLIMITED, _UNLIMITED, _UNLIMITED)
        )
        self.limit = AdaptiveLimit() if self._limited and config.adaptive_limit else None
        self.rooms = Rooms()
        self.line: Line[Work] = Line()
        self._parked: dict[int, list[Work]] = {}
        self._probe: Wait | None = None
        self._has_token = False
        self._urgent_until = float("-inf")
        self._left = _TURN
        self._turn: Timer | None = None
        self._wake: Timer | None = None
        self._look: Timer | None = None

    def take(self, work: Work, now: float) -> None:
        """Begin with a work: let it in, find its head or park it, then queue it. Sent by the next `pump`."""
        if work.rank != LEAST:
            self._urgent_until = now + _URGENT_FOR
        if work.session is not None and work.session.error is not None and self._desk.holding.stops(work):
            return  # it came too late to be held or failed with the others
        if work.terms.room is not None and not self.rooms.enter(work, now):
            return
        if work.head is None:
            assert work.admission is not None
            head = work.admission.head()
            if head is None:
                work.state = "parked"
                work.tracker.enter(work.admission.reason, now)
                self._parked.setdefault(work.admission.key, []).append(work)
                return
            if isinstance(head, TinkerError):
                self._desk.fail(work, head)
                return
            work.head = head
        work.state = "queued"
        self.line.append(work, work.rank)

    def take_later(self, work: Work, why: str) -> None:
        """Begin with a renewed work after a backoff that grows with its renewals."""
        work.state = "waiting"
        work.tracker.enter("backing off", self._desk.now(), why)
        delay = full_jitter(work.renewals, self._desk.random.random())
        work.timer = self._desk.later(delay, partial(self._resend, work))

    def adopt(self, work: Work) -> None:
        """Count a work that is at the server: a lane before this one had it accepted, or it was held."""
        work.at_server = True
        if self.limit is not None:
            self.limit.adopted()

    def unpark(self, key: int) -> None:
        """Look again at everything that waits for the sampler `key`."""
        now = self._desk.now()
        for work in self._parked.pop(key, ()):
            if work.state == "parked":
                self.take(work, now)
        self.pump()

    def pump(self) -> None:
        """Send what may be sent, as much as one turn of the lane has time for."""
        line, rooms, dispatch, limit = self.line, self.rooms, self.dispatch, self.limit
        if not line.length and not rooms.left:
            return
        now = self._desk.now()
        while rooms.left and (entered := rooms.next_in()) is not None:
            self.take(entered, now)
        if self._turn is not None:
            return  # until then nothing else matters
        while line.length:
            spare = not line.urgent and now < self._urgent_until
            if not dispatch.may_send(now, leave_free=spare) or not (limit is None or limit.allows(leave_free=spare)):
                self._wait(now)
                return
            if self._left <= 0:
                self._turn = self._desk.later(0.0, self._next_turn)
                return
            if self._desk.failing and not self._may_probe():
                return
            work = line.popleft()
            if work.state == "queued":
                self._left -= _PART_BESIDE_URGENT if spare else _PART
                if self._desk.failing and not self._limited and self._budget.troubled(work.tail.request_type):
                    self._wait_for_token(work)
                else:
                    self._send(work, now)

    def counts(self) -> tuple[int, int, int]:
        """Return how many works are parked, queued and being submitted."""
        return sum(map(len, self._parked.values())), self.line.length, self.dispatch.submits

    # ------------------------------------------------------------ for the desk

    def dropped(self, work: Work) -> None:
        """Count out a request that was given up. Its number was on the wire; the server may do it all the same."""
        self.dispatch.answered(work.charge)
        if self.limit is not None:
            self.limit.lost()

    def left_server(self, work: Work) -> None:
        """Take back the place that a work has at the server, if it has one."""
        if work.at_server:
            work.at_server = False
            if self.limit is not None:
                self.limit.ended()

    def server_paused(self, now: float) -> None:
        """Learn that the server keeps accepted samples waiting on purpose."""
        if self.limit is not None:
            self.limit.server_paused(now)

    # ------------------------------------------------------------ whether to send

    def _wait(self, now: float) -> None:
        """Come back when a pause is over or the limit may be tried; what is full comes back with the next answer."""
        until = self._window.until
        if now < until:
            if self._wake is not None and self._wake.due > until:
                self._wake.cancel()
                self._wake = None
            if self._wake is None:
                self._wake = self._desk.timers.call_at(until, self._woken)
        elif self.limit is not None and self.limit.known and self._look is None:
            self._look = self._desk.later(_LOOK_EVERY, self._look_at_limit)

    def _woken(self) -> None:
        self._wake = None
        self.pump()

    def _next_turn(self) -> None:
        self._turn = None
        self._left = _TURN
        self.pump()

    def _look_at_limit(self) -> None:
        self._look = None
        assert self.limit is not None
        if self.line.length and not self.limit.allows():
            self.limit.try_more()
        self.pump()

    def _may_probe(self) -> bool:
        """Return whether the next sample may be sent although the server may be in trouble; else wait for a token."""
        if not self._limited or not self._budget.troubled(TYPE_SAMPLE):
            return True
        if self._has_token:
            self._has_token = False
            return True
        if self._probe is None:
            self._probe = self._desk.retrying.line_up(TYPE_SAMPLE, self._got_token)
        return False

    def _wait_for_token(self, work: Work) -> None:
        """Have an operation wait for a token of its own: here they are few, and of several endpoints."""
        work.state = "waiting"
        work.timer = self._desk.retrying.line_up(work.tail.request_type, partial(self._resend, work))

    def _got_token(self) -> None:
        self._probe = None
        self._has_token = True
        self.pump()

    # ------------------------------------------------------------ sending and what comes back

    def _send(self, work: Work, now: float) -> None:
        if not work.idempotency_key:
            work.idempotency_key = idempotency_key()
        if work.first_sent is None:
            work.first_sent = now
        # While it waited here there was nothing to be heard of it.
        work.last_sign = now if work.last_sign is None else work.last_sign + now - work.tracker.since
        tail = work.tail
        assert work.head is not None
        is_sample = tail.request_type == TYPE_SAMPLE
        request = Request(
            method="POST",
            path=tail.path,
            headers=_SAMPLE if is_sample else (("Content-Type", tail.content_type), *tail.headers),
            body=(work.head, tail.body),
            timeout=self._desk.config.request_timeout,
            own_headers=((IDEMPOTENCY_KEY, work.idempotency_key),),
            once=not work.resend,
        )
        work.state = "submitting"
        work.charge = self.dispatch.sent(tail.weight, now)
        if self.limit is not None:
            work.number = self.limit.sent()
        work.tracker.attempts += 1
        work.tracker.enter("sending", now)
        work.ticket = self._desk.transport.send(request, partial(self._answered, work))

    def _answered(self, work: Work, answer: Answer) -> None:
        desk = self._desk
        if work.holder is not desk:
            if isinstance(work.holder, Call):
                desk.cancelling.answered(work.holder, answer)
                self.pump()
            return
        ticket, work.ticket = work.ticket, None
        self.dispatch.answered(work.charge)
        what = work.tracker.what
        if isinstance(answer, Reply):
            doubtful, wall = work.tail.doubtful, desk.settings.wall()
            outcome = submit_outcome(answer.status, answer.headers, answer.body, wall, what, doubtful=doubtful)
        else:
            outcome = broken_outcome(answer.kind, answer.phase, answer.message, answer.sent, what)
        if isinstance(outcome, Accepted) and not desk.request_ids.take(
            outcome.request_id, work.first_sent or 0.0, work
        ):
            outcome = desk.collisions.refuse(work, outcome.request_id)
        if desk.failing and not isinstance(outcome, Retry):
            desk.retrying.well(work.tail.request_type)
        if isinstance(outcome, Accepted):
            self._accepted(work, outcome)
        elif isinstance(outcome, Retry) and outcome.kind == "throttle" and self._limited:
            self._refused(work, outcome)
        else:
            if self.limit is not None:
                self.limit.lost()
            self._not_accepted(work, outcome, ticket)
        if desk.collisions.held:
            desk.collisions.look()
        if self.line.length or self.rooms.left:
            self.pump()

    def _accepted(self, work: Work, outcome: Accepted) -> None:
        now = self._desk.now()
        if self.limit is not None:
            self.limit.accepted(work.number)
        if self._window.strained and self._window.accepted(now):
            self._desk.settings.limits.announce(EASED)
        work.at_server = True
        work.request_id = work.tracker.request_id = outcome.request_id
        work.last_sign = now
        work.failures = work.limited = 0
        work.sink.accepted(work, outcome)
        self._polling.begin(work, now)

    def _refused(self, work: Work, retry: Retry) -> None:
        """Put a sample back that the server has no room for now."""
        now = self._desk.now()
        advice = "pause" if self.limit is None else self.limit.refused(work.number)
        if advice == "pause":  # nothing of ours fills the server: it fails, as far as that can be seen from here
            self._budget.failed(TYPE_SAMPLE, work.tracker.since, now, str(retry.error))
        if advice == "pause" or retry.after is not None:
            self.dispatch.pause(work.tail.weight, now, retry.after)
        work.state = "queued"
        work.tracker.enter("throttled", now, str(retry.error))
        self.line.give_back(work, work.rank, work.id)

    def _not_accepted(self, work: Work, outcome: Retry | Failed | Suspect, ticket: Ticket | None) -> None:
        if isinstance(outcome, Retry):
            if isinstance(outcome.error, APIResponseValidationError):
                assert ticket is not None
                ticket.reject()
            self._again(work, outcome)
        elif isinstance(outcome, Suspect):
            self._desk.suspect(work, outcome.error)
        else:
            self._desk.fail(work, outcome.error)

    def _again(self, work: Work, retry: Retry) -> None:
        now = self._desk.now()
        if retry.error.outcome == "unknown" and not work.resend:
            self._desk.fail(work, not_again(work, retry.error.message))
            return
        self._desk.catch_up(now)
        work.in_doubt = work.in_doubt or answer_lost(retry.error)
        if (retry.limit is not None and work.limited >= retry.limit) or (
            retry.kind != "throttle" and self._desk.worn_out(work)
        ):
            self._desk.give_up(work, retry.error)
            return
        work.error = retry.error
        work.limited += retry.limit is not None
        work.state = "waiting"
        sent_at = work.tracker.since
        work.tracker.enter("backing off", now, str(retry.error))
        self._desk.retrying.again(work.tail.request_type, work, sent_at, retry, partial(self._resend, work))

    def _resend(self, work: Work) -> None:
        if work.holder is not self._desk:
            return
        work.timer = None
        now = self._desk.now()
        work.state = "queued"
        work.tracker.enter("queued here", now, work.tracker.detail)  # from here on its silence is not the server's
        if self._budget.troubled(work.tail.request_type) and not (self._limited and now < self._window.until):
            self._send(work, now)  # it waited for this, whatever the limits are for those that come
            return
        self.line.append(work, work.rank)
        self.pump()


def not_again(work: Work, why: str) -> OutcomeUnknownError:
    """Return what to fail a work with that may have been accepted, and must not be sent a second time."""
    return OutcomeUnknownError(
        f"{work.tracker.what} was sent and got no usable answer: {sentence(why)} This server does not recognise a "
        f"repeated request, so it was not sent again."
    )
