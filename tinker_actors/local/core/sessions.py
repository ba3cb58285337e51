"""Sessions: who is there, and who is gone.

A session lives from its creation until it is finished, or misses its heartbeats. What belonged to it goes with it; its
id stays known as lost, so that a client hears 410 (gone) and not 404 (never was).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, get_args

import msgspec

from tinker_actors.local.core import ids
from tinker_actors.local.core.catalog import RESTARTED, Catalog
from tinker_actors.local.core.keeping import SessionRecord
from tinker_actors.local.core.quota import require_notes, require_quota
from tinker_actors.local.core.requests.messages import Answer, CoreRequest, RefusedError, ok
from tinker_actors.local.core.requests.numbers import Numbers
from tinker_actors.local.core.requests.reading import read
from tinker_actors.types.sessions import ClientSessionFinishReasonType
from tinker_actors.types.wire import CreateSessionRequest, FinishSessionRequest, SessionHeartbeatRequest

if TYPE_CHECKING:
    from tinker_actors.local.core.state import CoreState

_LOG = logging.getLogger(__name__)

_LOOKED = 2.0
"""Seconds since the core was last told to let time pass, which is done every second, within which it looks."""


class Session(msgspec.Struct, eq=False):
    """A session that lives.

    Attributes:
        session_id: its id.
        last_heartbeat: when it was created or last heard of.
        model_numbers: the `model_seq_id`s used.
        sampler_numbers: the `sampling_session_seq_id`s used.
    """

    session_id: str
    last_heartbeat: float
    model_numbers: Numbers = msgspec.field(default_factory=lambda: Numbers("model_seq_id"))
    sampler_numbers: Numbers = msgspec.field(default_factory=lambda: Numbers("sampling_session_seq_id"))


class Sessions:
    """All sessions, living and gone.

    Args:
        catalog: knows whose they are. Sessions that it knows already lived in an earlier process; they count as gone.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        catalog.on_forget = self.forget
        self._living: dict[str, Session] = {}
        self._gone: dict[str, str] = dict.fromkeys(catalog.session_ids, RESTARTED)

    def add(self, session: Session) -> None:
        """Add a living session."""
        self._living[session.session_id] = session

    def get(self, session_id: str) -> Session:
        """Return a living session.

        Raises:
            RefusedError: 410 if it is gone, 404 if it never was.
        """
        mine = self._catalog.may_see(session_id)
        session = self._living.get(session_id)
        if session is not None and mine:
            return session
        why = self._gone.get(session_id)
        if why is not None and mine:
            raise RefusedError(410, f"Session {session_id} is gone: {why}.")
        raise RefusedError(404, f"There is no session {session_id[:100]!r}.")

    def remove(self, session_id: str, why: str) -> None:
        """Count a session as gone from now on."""
        self._living.pop(session_id, None)
        self._gone.setdefault(session_id, why)

    def forget(self, session_id: str) -> None:
        """Count a session that is gone as one that never was."""
        self._gone.pop(session_id, None)

    def living(self) -> list[str]:
        """Return the ids of the sessions that live."""
        return list(self._living)

    def living_of(self, owner: str) -> list[str]:
        """Return the ids of an owner's sessions that live."""
        return [session_id for session_id in self._living if self._catalog.owner_of(session_id) == owner]

    def is_gone(self, session_id: str) -> bool:
        """Return whether there was such a session."""
        return session_id in self._gone and self._catalog.may_see(session_id)

    def silent_since(self, moment: float) -> list[str]:
        """Return the ids of sessions whose last heartbeat is no later than a moment."""
        return [session.session_id for session in self._living.values() if session.last_heartbeat <= moment]

    def forgive(self, seconds: float) -> None:
        """Take seconds in which nobody here listened off the silence of every session."""
        for session in self._living.values():
            session.last_heartbeat += seconds


def create_session(core: CoreState, request: CoreRequest, now: float) -> Answer:
    """`POST create_session`."""
    body = read(request, CreateSessionRequest)
    require_quota("sessions", len(core.sessions.living_of(core.caller.name)), core.limits.sessions_per_owner)
    require_notes(
        core.limits, user_metadata=body.user_metadata, project_id=body.project_id, display_name=body.display_name
    )
    session_id = f"session-{core.new_id()}"
    core.catalog.put_session(
        SessionRecord(
            session_id=session_id,
            owner=core.caller.name,
            created_at=core.wall,
            project_id=body.project_id,
            display_name=body.display_name,
            user_metadata=body.user_metadata,
        )
    )
    core.sessions.add(Session(session_id, now))
    _LOG.info("%s: opened %s", core.caller.name, session_id)
    return ok({"type": "create_session", "session_id": session_id})


def session_heartbeat(core: CoreState, request: CoreRequest, now: float) -> Answer:
    """`POST session_heartbeat`. One that comes too late is too late, also if nobody has looked since the end came."""
    session = core.sessions.get(read(request, SessionHeartbeatRequest).session_id)
    # What comes behind a pause in which nobody looked may have waited unread all the while.
    looked = core.ticked is not None and now - core.ticked <= _LOOKED
    if looked and now - session.last_heartbeat >= core.limits.session_seconds:
        _expire(core, session.session_id)
        core.sessions.get(session.session_id)
    session.last_heartbeat = now
    return ok({"type": "session_heartbeat"})


def finish_session(core: CoreState, request: CoreRequest, _now: float, session_id: str) -> Answer:
    """`POST sessions/{id}/finish`; of several reasons the first one counts."""
    body = read(request, FinishSessionRequest)
    if not core.sessions.is_gone(session_id):
        core.sessions.get(session_id)
        require_notes(core.limits, detail=body.detail)
        _note_finish(core, session_id, body)
        end_session(core, session_id, f"its client finished it ({body.reason.type[:40]})")
    return ok({"type": "finish_session"})


def _note_finish(core: CoreState, session_id: str, body: FinishSessionRequest) -> None:
    record = core.catalog.session(session_id)
    reason = body.reason.type if body.reason.type in get_args(ClientSessionFinishReasonType) else None
    core.catalog.put_session(
        msgspec.structs.replace(record, status="client_finished", reason=reason, detail=body.detail)
    )


def expire_sessions(core: CoreState, now: float) -> None:
    """End every session whose heartbeats have stopped."""
    for session_id in core.sessions.silent_since(now - core.limits.session_seconds):
        _expire(core, session_id)


def _expire(core: CoreState, session_id: str) -> None:
    end_session(core, session_id, f"no heartbeat came for {core.limits.session_seconds:g} seconds")


def end_session(core: CoreState, session_id: str, why: str) -> None:
    """End a session: its pending futures are lost, its models and samplers unloaded."""
    _LOG.info("%s: %s has ended: %s", core.catalog.owner_of(session_id), session_id, why)
    core.sessions.remove(session_id, why)
    core.catalog.cancel_session(session_id, why)
    for future in core.futures.pending_of(session_id):
        core.futures.lose(future, f"Session {session_id} is gone: {why}.")
    for model_id in [found for found in core.models if ids.session_of(found) == session_id]:
        core.models.pop(model_id).close()
        core.catalog.end_run(model_id)
    for sampler in core.samplers.of_session(session_id):
        core.samplers.remove(sampler.sampler_id)
