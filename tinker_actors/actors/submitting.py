"""Submitting: how work gets accepted by the server.

Work waits for its sampler (parked), for its turn (queued), is sent, and sent again unchanged until the server accepts
or refuses it. A 429 on a sample is no failure: it pauses everything that waits here.
"""

from __future__ import annotations

import itertools
import secrets
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from tinker_actors.actors.desk import Desk
from tinker_actors.actors.work import Work
from tinker_actors.errors import OutcomeUnknownError, TinkerError
from tinker_actors.protocol.dispatch import Dispatch
from tinker_actors.protocol.endpoints import IDEMPOTENCY_KEY, SAMPLING_BACKPRESSURE, TYPE_SAMPLE
from tinker_actors.protocol.outcomes import Accepted, Failed, Retry, Suspect, broken_outcome, submit_outcome
from tinker_actors.protocol.retry import full_jitter
from tinker_actors.runtime.timers import Timer
from tinker_actors.runtime.transport import Answer, Reply, Request

if TYPE_CHECKING:
    from tinker_actors.actors.polling import Polling

# Resent requests repeat their key, so that a proxy or server can recognise them; unique per process and request.
_KEY_PREFIX = f"tinker-actors-{secrets.token_hex(8)}-"
_keys = itertools.count()

_UNLIMITED = 1 << 60


class Submitting:
    """The submitting hand of a lane; used on its thread only."""

    def __init__(self, desk: Desk, polling: Polling) -> None:
        self._desk = desk
        self._polling = polling
        config = desk.config
        self._limited = desk.settings.limited
        self.dispatch = (
            Dispatch(config.max_submits, config.throttled_submits, config.dispatch_bytes)
            if self._limited
            else Dispatch(_UNLIMITED, _UNLIMITED, _UNLIMITED)
        )
        self._queue: deque[Work] = deque()
        self._parked: dict[int, list[Work]] = {}
        self._wake: Timer | None = None

    def take(self, work: Work) -> None:
        """Begin with a work: find its head or park it, then queue it."""
        if work.head is None:
            assert work.admission is not None
            head = work.admission.head()
            if head is None:
                work.state = "parked"
                work.tracker.enter("waiting for its sampler", self._desk.now())
                self._parked.setdefault(work.admission.key, []).append(work)
                return
            if isinstance(head, TinkerError):
                self._desk.fail(work, head)
                return
            work.head = head
        work.state = "queued"
        self._queue.append(work)
        self.pump()

    def take_later(self, work: Work) -> None:
        """Begin with a renewed work after a backoff that grows with its renewals."""
        work.state = "waiting"
        work.tracker.enter("backing off", self._desk.now(), "the server forgot it")
        delay = full_jitter(work.renewals, self._desk.random.random())
        work.timer = self._desk.later(delay, partial(self._resend, work))

    def unpark(self, key: int) -> None:
        """Look again at everything that waits for the sampler `key`."""
        for work in self._parked.pop(key, ()):
            if work.state == "parked":
                self.take(work)

    def pump(self) -> None:
        """Send what may be sent."""
        queue, dispatch = self._queue, self.dispatch
        while queue:
            now = self._desk.now()
            if not dispatch.may_send(now):
                self._wait(now)
                return
            work = queue.popleft()
            if work.state == "queued":
                self._send(work, now)

    def counts(self) -> tuple[int, int, int]:
        """Return how many works are parked, queued and being submitted."""
        return sum(map(len, self._parked.values())), len(self._queue), self.dispatch.submits

    def _wait(self, now: float) -> None:
        """Come back when the pause is over; a full dispatch comes back by itself with the next answer."""
        if now < self.dispatch.paused_until and self._wake is None:
            self._wake = self._desk.timers.call_at(self.dispatch.paused_until, self._woken)

    def _woken(self) -> None:
        self._wake = None
        self.pump()

    def _send(self, work: Work, now: float) -> None:
        if not work.idempotency_key:
            work.idempotency_key = f"{_KEY_PREFIX}{next(_keys)}"
        if work.first_sent is None:
            work.first_sent = work.last_sign = now
        tail = work.tail
        assert work.head is not None
        headers: tuple[tuple[str, str], ...] = ((IDEMPOTENCY_KEY, work.idempotency_key),)
        if tail.request_type == TYPE_SAMPLE:
            headers = (*headers, (SAMPLING_BACKPRESSURE, "1"))
        request = Request(
            method="POST",
            path=tail.path,
            headers=(("Content-Type", tail.content_type), *headers),
            body=(work.head, tail.body),
            timeout=self._desk.config.request_timeout,
        )
        work.state = "submitting"
        work.charge = self.dispatch.sent(tail.weight, now)
        work.tracker.attempts += 1
        work.tracker.enter("sending", now)
        work.ticket = self._desk.transport.send(request, partial(self._answered, work))

    def _answered(self, work: Work, answer: Answer) -> None:
        if work.holder is not self._desk:
            return
        work.ticket = None
        self.dispatch.answered(work.charge)
        if work.state == "submitting":
            self._decide(work, answer)
        self.pump()

    def _decide(self, work: Work, answer: Answer) -> None:
        what = work.tracker.what
        if isinstance(answer, Reply):
            outcome = submit_outcome(answer.status, answer.headers, answer.body, self._desk.settings.wall(), what)
            sent = True
        else:
            outcome = broken_outcome(answer.kind, answer.phase, answer.message, answer.sent, what)
            sent = answer.sent
        if isinstance(outcome, Accepted):
            self._accepted(work, outcome)
        elif isinstance(outcome, Retry):
            self._again(work, outcome, sent=sent)
        elif isinstance(outcome, Suspect):
            self._desk.suspect(work, outcome.error)
        else:
            assert isinstance(outcome, Failed)
            self._desk.fail(work, outcome.error)

    def _accepted(self, work: Work, outcome: Accepted) -> None:
        now = self._desk.now()
        self._desk.budget.succeeded(now)
        work.request_id = outcome.request_id
        work.tracker.request_id = outcome.request_id
        work.last_sign = now
        work.failures = 0
        work.sink.accepted(work, outcome)
        self._polling.begin(work)

    def _again(self, work: Work, retry: Retry, *, sent: bool) -> None:
        now = self._desk.now()
        if retry.kind == "throttle" and self._limited:
            self.dispatch.pause(work.tail.weight, now, retry.after)
            work.state = "queued"
            work.tracker.enter("throttled", now, str(retry.error))
            self._queue.appendleft(work)
            return
        if sent and not work.resend and retry.kind != "throttle":
            self._desk.fail(
                work,
                OutcomeUnknownError(
                    f"{work.tracker.what} was sent and got no usable answer: {retry.error.message} This server does "
                    f"not recognise a repeated request, so it was not sent again."
                ),
            )
            return
        out_of_patience = work.patience is not None and now - (work.first_sent or now) >= work.patience
        if out_of_patience or (retry.limit is not None and work.failures >= retry.limit):
            self._desk.fail(work, retry.error)
            return
        delay = self._desk.backoff(work.failures, retry)
        work.failures += 1
        work.state = "waiting"
        work.tracker.enter("backing off", now, str(retry.error))
        work.timer = self._desk.later(delay, partial(self._resend, work))

    def _resend(self, work: Work) -> None:
        if work.holder is not self._desk:
            return
        work.timer = None
        work.state = "queued"
        self._queue.append(work)
        self.pump()
