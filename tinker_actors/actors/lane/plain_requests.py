"""Calling: plain requests and their replies, for creating, describing and ending things."""

from __future__ import annotations

from functools import partial

from tinker_actors.actors.lane.table import Desk
from tinker_actors.actors.lane.work import Call
from tinker_actors.errors import DeadlineExceededError
from tinker_actors.net.transport import Answer, Reply, Request
from tinker_actors.protocol.endpoints import IDEMPOTENCY_KEY
from tinker_actors.protocol.replies.outcomes import (
    UNREADABLE_RETRIES,
    Done,
    Failed,
    Retry,
    Suspect,
    Unreadable,
    broken_outcome,
    reply_outcome,
)


class Calling:
    """The calling hand of a lane; used on its thread only."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._budget = desk.settings.limits.budget

    def begin(self, call: Call) -> None:
        """Send a call that comes new, now or, while its endpoint is in trouble, when there is a token for it."""
        desk = self._desk
        self._limit_time(call)
        if call.session is not None and call.session.error is not None and desk.holding.stops(call):
            return
        if desk.failing and self._budget.troubled(call.what):
            call.timer = desk.retrying.line_up(call.what, partial(self.send, call))
        else:
            self.send(call)

    def send(self, call: Call) -> None:
        """Send a call whose time has come, for the first time or again."""
        if call.holder is not self._desk:
            return
        call.timer = None
        self._limit_time(call)
        call.sent = self._desk.now()
        call.attempts += 1
        request = Request(
            method=call.method,
            path=call.path,
            headers=(("Content-Type", "application/json"),) if call.body else (),
            body=(call.body,) if call.body else (),
            timeout=call.timeout or self._desk.config.request_timeout,
            own_headers=((IDEMPOTENCY_KEY, call.idempotency_key),) if call.idempotency_key else (),
        )
        call.ticket = self._desk.transport.send(request, partial(self.answered, call))

    def answered(self, call: Call, answer: Answer) -> None:
        """Take the answer to a call."""
        if call.holder is not self._desk:
            return
        ticket, call.ticket = call.ticket, None
        if isinstance(answer, Reply):
            wall = self._desk.settings.wall()
            outcome = reply_outcome(answer.status, answer.headers, answer.body, wall, call.what, call.read)
        else:
            outcome = broken_outcome(answer.kind, answer.phase, answer.message, answer.sent, call.what)
        if self._desk.failing and not isinstance(outcome, Retry | Unreadable):
            self._desk.retrying.well(call.what)
        if isinstance(outcome, Done):
            self._desk.finish(call, outcome)
        elif isinstance(outcome, Retry):
            self._again(call, outcome)
        elif isinstance(outcome, Unreadable):
            assert ticket is not None
            ticket.reject()
            self._again(call, Retry("transient", outcome.error, None, UNREADABLE_RETRIES))
        elif isinstance(outcome, Suspect):
            self._desk.suspect(call, outcome.error)
        else:
            assert isinstance(outcome, Failed)
            self._desk.fail(call, outcome.error)

    def _again(self, call: Call, retry: Retry) -> None:
        if not call.retried or (retry.limit is not None and call.limited >= retry.limit):
            self._budget.failed(call.what, call.sent, self._desk.now(), str(retry.error))
            self._desk.fail(call, retry.error)
            return
        call.error = retry.error
        call.limited += retry.limit is not None
        self._desk.retrying.again(call.what, call, call.sent, retry, partial(self.send, call))

    def _limit_time(self, call: Call) -> None:
        """Have a call given up when its time is over, which begins when it might have been sent for the first time."""
        if call.first_sent is None:
            call.first_sent = self._desk.now()
        if call.patience is not None and call.deadline is None:
            self._desk.expect(call, call.first_sent + call.patience, partial(self._too_late, call))

    def _too_late(self, call: Call) -> None:
        """Give a call up whose time is over, with what went wrong last."""
        self._desk.fail(call, call.error or self._late(call))

    def _late(self, call: Call) -> DeadlineExceededError:
        if call.attempts:
            return DeadlineExceededError(f"{call.what} got no answer in {call.patience:g} s.")
        return DeadlineExceededError(
            f"{call.what} was not sent in {call.patience:g} s: nothing that the server is asked succeeds. "
            f"{self._budget.trouble}".rstrip(),
            outcome="not_applied",
        )
