"""Polling: how an accepted operation's result gets here.

The server holds a poll until the result is there or half a minute is over; the next poll follows at once. What fails
is repeated with a backoff that all polls of the lane share, because a server in trouble is in trouble for all of them.
"""

from __future__ import annotations

from collections import deque
from functools import partial

from tinker_actors.actors.desk import Desk
from tinker_actors.actors.work import Work
from tinker_actors.protocol.codec import encode
from tinker_actors.protocol.endpoints import ENDPOINTS, REQUEST_ITERATION, REQUEST_TYPE
from tinker_actors.protocol.outcomes import (
    Done,
    Failed,
    FetchFull,
    Retry,
    Suspect,
    TryLater,
    broken_outcome,
    poll_outcome,
)
from tinker_actors.runtime.progress import WaitReason
from tinker_actors.runtime.transport import Answer, Reply, Request

_PATH = ENDPOINTS["retrieve_future"].path
# Connections kept free for submitting while polls hold all the others.
_RESERVE = 8


class Polling:
    """The polling hand of a lane; used on its thread only."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._most = max(1, desk.config.max_connections - _RESERVE)
        self._out = 0
        self._queue: deque[Work] = deque()
        self._failures = 0

    def begin(self, work: Work) -> None:
        """Poll for a work, as soon as a connection may be held for it."""
        work.state = "polling"
        if self._out >= self._most:
            work.tracker.enter("waiting for its turn", self._desk.now())
            self._queue.append(work)
            return
        self._send(work)

    def counts(self) -> tuple[int, int]:
        """Return how many polls are out and how many wait for a connection."""
        return self._out, len(self._queue)

    def _send(self, work: Work) -> None:
        tracker = work.tracker
        body = {"request_id": work.request_id, "allow_metadata_only": not work.full}
        request = Request(
            method="POST",
            path=_PATH,
            headers=(
                ("Content-Type", "application/json"),
                (REQUEST_TYPE, work.tail.request_type),
                (REQUEST_ITERATION, str(tracker.polls)),
            ),
            body=(encode(body),),
            timeout=self._desk.config.poll_timeout,
        )
        tracker.polls += 1
        self._out += 1
        if not work.paused:
            tracker.enter("fetching the result" if work.full else "queued at the server", self._desk.now())
        work.ticket = self._desk.transport.send(request, partial(self._answered, work))

    def released(self) -> None:
        """Count out a poll whose request was cancelled, and let the next one go."""
        self._out -= 1
        self._next()

    def _next(self) -> None:
        while self._queue and self._out < self._most:
            work = self._queue.popleft()
            if work.state == "polling" and work.ticket is None:
                self._send(work)

    def _answered(self, work: Work, answer: Answer) -> None:
        if work.holder is not self._desk:
            return
        work.ticket = None
        self._out -= 1
        if work.state == "polling":
            self._decide(work, answer)
        self._next()

    def _decide(self, work: Work, answer: Answer) -> None:
        assert work.request_id is not None
        if isinstance(answer, Reply):
            outcome = poll_outcome(
                answer.status,
                answer.headers,
                answer.body,
                work.request_id,
                self._desk.settings.wall(),
                work.failures,
            )
        else:
            outcome = broken_outcome(answer.kind, answer.phase, answer.message, answer.sent, work.tracker.what)
        if isinstance(outcome, Retry):
            self._again(work, outcome)
            return
        self._failures = 0
        work.last_sign = self._desk.now()
        work.failures = 0
        if isinstance(outcome, Done):
            self._desk.finish(work, outcome)
        elif isinstance(outcome, TryLater):
            self._later(work, outcome)
        elif isinstance(outcome, FetchFull):
            work.full = True
            self.begin(work)
        elif isinstance(outcome, Suspect):
            self._desk.suspect(work, outcome.error)
        else:
            assert isinstance(outcome, Failed)
            self._desk.fail(work, outcome.error)

    def _later(self, work: Work, outcome: TryLater) -> None:
        state = outcome.queue_state
        work.paused = state is not None and state.startswith("paused")
        reason: WaitReason = "paused by the server" if work.paused else "queued at the server"
        detail = outcome.queue_state_reason or (state or "" if work.paused else "")
        work.tracker.enter(reason, self._desk.now(), detail)
        self.begin(work)

    def _again(self, work: Work, retry: Retry) -> None:
        if retry.limit is not None:
            work.failures += 1
            if work.failures > retry.limit:
                self._desk.fail(work, retry.error)
                return
        delay = self._desk.backoff(self._failures, retry)
        self._failures += 1
        work.tracker.enter("backing off", self._desk.now(), str(retry.error))
        work.timer = self._desk.later(delay, partial(self._resume, work))

    def _resume(self, work: Work) -> None:
        if work.holder is not self._desk:
            return
        work.timer = None
        if work.state == "polling":
            self.begin(work)
