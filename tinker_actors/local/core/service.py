"""Service: the core's door. Requests in, answers or holds out, jobs handed out and taken back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from tinker_actors.local.core import polling, sessions
from tinker_actors.local.core.access.authentication import KEY_HEADER, Access
from tinker_actors.local.core.jobs import Job, JobKind, Result
from tinker_actors.local.core.keeping import Store
from tinker_actors.local.core.limits import Limits
from tinker_actors.local.core.models import gaps, submitting
from tinker_actors.local.core.ports import Engine
from tinker_actors.local.core.requests.messages import Answer, CoreRequest, Hold, RefusedError
from tinker_actors.local.core.requests.opening import opened
from tinker_actors.local.core.requests.router import OPEN, route
from tinker_actors.local.core.samples import sampling, streaming
from tinker_actors.local.core.samples.streams import Stream
from tinker_actors.local.core.state import CoreState

_LOG = logging.getLogger(__name__)


class ServiceCore:
    """A Tinker server without I/O, threads or clock; see the package's docstring for how to drive it.

    All methods are for one thread. Only `Job.run` may be called elsewhere.

    Args:
        engine: computes; its methods run in jobs.
        store: keeps checkpoints, results and what is known about sessions and runs.
        limits: bounds and waiting times; None for the defaults.
        new_id: returns a new random id of letters and digits each time; sessions and requests are named by it.
        access: who may call; None for everybody.
        epoch: seconds since 1970 when the clock that `now` is read from was at 0.
    """

    def __init__(
        self,
        engine: Engine,
        store: Store,
        limits: Limits | None,
        new_id: Callable[[], str],
        access: Access | None = None,
        epoch: float = 0.0,
    ) -> None:
        self._state = CoreState(engine, store, limits or Limits(), new_id, access or Access(), epoch)

    @property
    def state(self) -> CoreState:
        """What the core knows; for those who watch it or make it misbehave, between two calls."""
        return self._state

    @property
    def limits(self) -> Limits:
        """The limits in force."""
        return self._state.limits

    def handle(self, request: CoreRequest, now: float) -> Answer | Hold | Stream:
        """Take a request.

        Args:
            request: the request; one whose body is large better as `opened` returns it, which may be done elsewhere.
            now: the time in seconds, on any clock that does not go back; the same one in every call.
        """
        state = self._state
        state.now = now
        try:
            found = route(request.method, request.path)
            if found.handler not in OPEN:
                state.caller.owner = self._owner_of(request.headers)
            if request.ahead is None and request.body:
                request = opened(request, self.limits)
            answer: Answer | Hold | Stream = found.handler(state, request, now, *found.ids)
        except RefusedError as refusal:
            return refusal.answer()
        finally:
            state.caller.owner = state.caller.sponsor = None
        return answer

    def check_key(self, headers: Mapping[str, str], now: float) -> None:
        """Check a request's key by itself, before much of its body is read.

        Raises:
            RefusedError: 401, it is nobody's.
        """
        self._state.now = now
        self._owner_of(headers)

    def _owner_of(self, headers: Mapping[str, str]) -> str:
        try:
            return self._state.access.owner_of(headers.get(KEY_HEADER, ""), self._state.wall)
        except RefusedError as refusal:
            _LOG.warning("a request was refused: %s", refusal.detail)
            raise

    def resume(self, hold: Hold, now: float) -> Answer | None:
        """Return the answer to a held request, or None if it is to be held on.

        Args:
            hold: what `handle` returned.
            now: the time; a time at or past `hold.deadline` always gives an answer.
        """
        try:
            return polling.resume(self._state, hold, now)
        except RefusedError as refusal:
            return refusal.answer()

    def take_events(self, stream: Stream) -> tuple[bytes, bool]:
        """Return the events of a stream since the last call, and whether they were the last ones."""
        return streaming.take_events(self._state, stream)

    def abandon(self, stream: Stream) -> None:
        """Stop drawing for a stream that nobody reads any more, unless it is over."""
        streaming.abandon(self._state, stream)

    def next_job(self, kind: JobKind) -> Job | None:
        """Take a job; to be run once and brought back by `finish`. None when nothing can be done now."""
        if kind == "train":
            return submitting.next_train_job(self._state)
        return sampling.next_sample_job(self._state)

    def finish(self, job: Job, result: Result, now: float) -> set[str]:
        """Bring back a job with its result. Returns the ids of the futures decided since they were last asked for."""
        self._state.now = now
        job.done(result, now)
        return self.take_decided()

    def tick(self, now: float) -> set[str]:
        """Let time pass: sessions without heartbeats end, old checkpoints go, gaps in numbers are given up.

        Returns ids like `finish`. There may be jobs to do afterwards.
        """
        self._state.now = self._state.ticked = now
        sessions.expire_sessions(self._state, now)
        gaps.give_up_gaps(self._state, now)
        self._state.catalog.expire_checkpoints(self._state.wall)  # last, because a disk may not take it
        return self.take_decided()

    def stood_still(self, seconds: float) -> None:
        """Take time in which the server looked at nothing off all that is waited for: what came then waits unread."""
        self._state.sessions.forgive(seconds)
        gaps.forgive(self._state, seconds)

    def take_decided(self) -> set[str]:
        """Return the ids of futures decided since they were last asked for; `handle` decides some too."""
        return self._state.futures.take_decided()
