"""Catalog: what is remembered of sessions, training runs and checkpoints, whoever lives still.

The one place that asks the store for records, and the one that hides from a caller what is not the caller's. Sessions
and runs that are over are forgotten when an owner has very many of them, or has said much about them; a run that has
checkpoints then stays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial

import msgspec

from tinker_actors.local.core import ids
from tinker_actors.local.core.access.caller import Caller
from tinker_actors.local.core.keeping import (
    Checkpoint,
    CheckpointMeta,
    CheckpointMissingError,
    RunRecord,
    SessionRecord,
    Store,
)
from tinker_actors.local.core.limits import Limits
from tinker_actors.local.core.past import Past
from tinker_actors.local.core.requests.messages import RefusedError
from tinker_actors.local.core.rest.describing import run_of
from tinker_actors.protocol.codec import wire_json

RESTARTED = "the server was restarted"


class Catalog:
    """Records by id. For the core's own thread, but for `read`.

    Args:
        store: keeps them.
        caller: for whom they are looked up.
        limits: how many are remembered.

    Attributes:
        on_forget: told the id of each session that is forgotten.
    """

    def __init__(self, store: Store, caller: Caller, limits: Limits) -> None:
        self.on_forget: Callable[[str], None] | None = None
        self._store = store
        self._caller = caller
        # By owner, so that one can't make the server forget another's.
        self._past_sessions = defaultdict[str, Past](partial(Past, limits.past_records, limits.past_bytes))
        self._past_runs = defaultdict[str, Past](partial(Past, limits.past_records, limits.past_bytes))
        self._sessions = {record.session_id: record for record in store.sessions()}
        self._runs = {record.run_id: record for record in store.runs()}
        self._samplers: dict[str, dict[str, None]] = {}  # in order
        for session_id, record in list(self._sessions.items()):
            if record.status == "active":
                self.cancel_session(session_id, RESTARTED)
            else:
                self._end_session(record)
        for run_id in list(self._runs):
            self.end_run(run_id)

    @property
    def session_ids(self) -> list[str]:
        """The ids of all sessions."""
        return list(self._sessions)

    def may_see(self, any_id: str) -> bool:
        """Return whether the caller may know of a session, model or sampler; so too of one that never was."""
        record = self._sessions.get(ids.session_of(any_id))
        return record is None or self._caller.owns(record.owner)

    def session(self, session_id: str) -> SessionRecord:
        """Return a session's record.

        Raises:
            RefusedError: 404, there is none for this caller.
        """
        record = self._sessions.get(session_id)
        if record is None or not self._caller.owns(record.owner):
            raise RefusedError(404, f"There is no session {session_id[:100]!r}.")
        return record

    def known_sessions(self, session_ids: Iterable[str]) -> list[SessionRecord]:
        """Return the records of those sessions that are remembered."""
        return [self._sessions[session_id] for session_id in session_ids if session_id in self._sessions]

    def sessions(self) -> list[SessionRecord]:
        """Return the records of the caller's sessions, the newest first."""
        found = [record for record in self._sessions.values() if self._caller.owns(record.owner)]
        return sorted(found, key=lambda record: (record.created_at, record.session_id), reverse=True)

    def put_session(self, record: SessionRecord) -> None:
        """Keep a session's record, in place of an earlier one. Nothing has changed if the store does not take it."""
        self._store.put_session(record)
        self._sessions[record.session_id] = record
        if record.status != "active":
            self._end_session(record)

    def owner_of(self, session_id: str) -> str | None:
        """Return whose a session is; None for one that never was."""
        record = self._sessions.get(session_id)
        return None if record is None else record.owner

    def project_of(self, session_id: str) -> str | None:
        """Return the project that a session is counted to."""
        record = self._sessions.get(session_id)
        return None if record is None else record.project_id

    def cancel_session(self, session_id: str, why: str) -> None:
        """Note that a session was ended by the server, unless it had ended before."""
        record = self._sessions.get(session_id)
        if record is not None and record.status == "active":
            self.put_session(msgspec.structs.replace(record, status="cancelled", detail=why))

    def run(self, run_id: str) -> RunRecord:
        """Return a training run's record.

        Raises:
            RefusedError: 404, there is none for this caller.
        """
        record = self._runs.get(run_id)
        if record is None or not self._caller.owns(record.owner):
            raise RefusedError(404, f"There is no training run {run_id[:200]!r}.")
        return record

    def runs(self) -> list[RunRecord]:
        """Return the records of the caller's training runs, the one asked last first."""
        found = [record for record in self._runs.values() if self._caller.owns(record.owner)]
        return sorted(found, key=lambda record: (record.last_request_at, record.run_id), reverse=True)

    def put_run(self, record: RunRecord) -> None:
        """Keep a training run's record, in place of an earlier one."""
        self._runs[record.run_id] = record
        self._store.put_run(record)

    def end_run(self, run_id: str) -> None:
        """Note that nothing more is done in a run: its model is not in memory any more."""
        record = self._runs.get(run_id)
        if record is None:
            return
        for old in self._past_runs[record.owner].add(run_id, _size(record)):
            if not any(run_of(meta) == old for meta in self._store.checkpoints()):
                self._runs.pop(old, None)
                self._store.forget_run(old)

    def _end_session(self, record: SessionRecord) -> None:
        for old in self._past_sessions[record.owner].add(record.session_id, _size(record)):
            self._sessions.pop(old, None)
            self._samplers.pop(old, None)
            self._store.forget_session(old)
            if self.on_forget is not None:
                self.on_forget(old)

    def touch_run(self, run_id: str, wall: float) -> None:
        """Note that something was asked of a run. In memory only: it happens with every request."""
        record = self._runs.get(run_id)
        if record is not None:
            self._runs[run_id] = msgspec.structs.replace(record, last_request_at=wall)

    def add_sampler(self, sampler_id: str) -> None:
        """Note that a session got a sampler."""
        self._samplers.setdefault(ids.session_of(sampler_id), {})[sampler_id] = None

    def forget_sampler(self, sampler_id: str) -> None:
        """Note that a sampler was given up."""
        self._samplers.get(ids.session_of(sampler_id), {}).pop(sampler_id, None)

    def samplers_of(self, session_id: str) -> list[str]:
        """Return the ids of the samplers that a session got since the server was started and that were not given up."""
        return list(self._samplers.get(session_id, ()))

    def runs_of(self, session_id: str) -> list[str]:
        """Return the ids of a session's training runs, in order of creation."""
        return [run_id for run_id in self._runs if ids.session_of(run_id) == session_id]

    def find(self, path: str, wall: float) -> CheckpointMeta | None:
        """Return what is known about a checkpoint that the caller may read."""
        meta = self._store.find(path)
        if meta is None or is_over(meta, wall) or not self._caller.reads(meta.owner, public=meta.public):
            return None
        return meta

    def read(self, path: str, wall: float, readers: frozenset[str] | None) -> Checkpoint:
        """Return a checkpoint, for readers that `Caller.readers` told of earlier. For any thread.

        Raises:
            CheckpointMissingError: there is none that they may read.
        """
        meta = self._store.find(path)
        if meta is None or is_over(meta, wall) or not (readers is None or meta.public or meta.owner in readers):
            raise CheckpointMissingError(f"there is no checkpoint {path}")
        return self._store.read(path)

    def own_checkpoints(self, wall: float) -> list[CheckpointMeta]:
        """Return what is known about the caller's checkpoints, the newest first."""
        found = [
            meta for meta in self._store.checkpoints() if self._caller.owns(meta.owner) and not is_over(meta, wall)
        ]
        return sorted(found, key=lambda meta: (meta.created_at, meta.path), reverse=True)

    def expire_checkpoints(self, wall: float) -> None:
        """Delete the checkpoints whose time is over."""
        for meta in self._store.checkpoints():
            if is_over(meta, wall):
                self._store.delete(meta.path, "its time is over")


def _size(record: SessionRecord | RunRecord) -> int:
    return len(wire_json.encode(record))


def is_over(meta: CheckpointMeta, wall: float) -> bool:
    """Return whether a checkpoint's time is over."""
    return meta.expires_at is not None and meta.expires_at <= wall
