"""Service: the core's door. Requests in, answers or holds out, jobs handed out and taken back."""

from __future__ import annotations

from collections.abc import Callable

from tinker_actors.local.core import polling, sampling, sessions, submitting
from tinker_actors.local.core.jobs import Job, JobKind, Result
from tinker_actors.local.core.limits import Limits
from tinker_actors.local.core.messages import Answer, CoreRequest, Hold, RefusedError
from tinker_actors.local.core.ports import Engine, Store
from tinker_actors.local.core.router import route
from tinker_actors.local.core.state import CoreState


class ServiceCore:
    """A Tinker server without I/O, threads or clock; see the package's docstring for how to drive it.

    All methods are for one thread. Only `Job.run` may be called elsewhere.

    Args:
        engine: computes; its methods run in jobs.
        store: keeps checkpoints.
        limits: bounds and waiting times; None for the defaults.
        new_id: returns a new random id of letters and digits each time; sessions and requests are named by it.
    """

    def __init__(self, engine: Engine, store: Store, limits: Limits | None, new_id: Callable[[], str]) -> None:
        self._state = CoreState(engine, store, limits or Limits(), new_id)

    @property
    def limits(self) -> Limits:
        """The limits in force."""
        return self._state.limits

    def handle(self, request: CoreRequest, now: float) -> Answer | Hold:
        """Take a request.

        Args:
            request: the request.
            now: the time in seconds, on any clock that does not go back; the same one in every call.
        """
        try:
            found = route(request.method, request.path)
            if len(request.body) > self.limits.body_bytes:
                raise too_large(self.limits)
            answer: Answer | Hold = found.handler(self._state, request, now, *found.ids)
        except RefusedError as refusal:
            return refusal.answer()
        return answer

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

    def next_job(self, kind: JobKind) -> Job | None:
        """Take a job; to be run once and brought back by `finish`. None when nothing can be done now."""
        if kind == "train":
            return submitting.next_train_job(self._state)
        return sampling.next_sample_job(self._state)

    def finish(self, job: Job, result: Result, now: float) -> set[str]:
        """Bring back a job with its result. Returns the ids of the futures decided since they were last asked for."""
        job.done(result, now)
        return self.take_decided()

    def tick(self, now: float) -> set[str]:
        """Let time pass: sessions whose heartbeats have stopped are ended. Returns ids like `finish`."""
        sessions.expire_sessions(self._state, now)
        return self.take_decided()

    def take_decided(self) -> set[str]:
        """Return the ids of futures decided since they were last asked for; `handle` decides some too."""
        return self._state.futures.take_decided()


def too_large(limits: Limits) -> RefusedError:
    """Return the refusal of a body above the limit."""
    return RefusedError(413, f"The body is larger than this server's limit of {limits.body_bytes} bytes.")
