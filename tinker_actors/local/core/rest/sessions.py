"""REST: sessions, listed, looked up and searched for."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, cast

import msgspec

from tinker_actors.local.core import ids
from tinker_actors.local.core.access import jwt
from tinker_actors.local.core.keeping import SessionRecord
from tinker_actors.local.core.requests.messages import Answer, CoreRequest, RefusedError, ok
from tinker_actors.local.core.requests.reading import read
from tinker_actors.local.core.rest.describing import metadata_of, run_of, time_of
from tinker_actors.local.core.rest.paging import page_of, require_scope
from tinker_actors.types.sessions import (
    ClientSessionFinished,
    ClientSessionFinishReason,
    ClientSessionFinishReasonType,
    GetSessionResponse,
    ListSessionsResponse,
    SessionActive,
    SessionCancelled,
    SessionSearchCursor,
    SessionSearchRequest,
    SessionSearchResponse,
    SessionStatus,
    SessionStatusQuery,
    SessionSummary,
    UserSearchOwner,
)

if TYPE_CHECKING:
    from tinker_actors.local.core.state import CoreState

DEFAULT_PROJECT = "default"
"""What sessions without a project are counted to."""

_SESSIONS_PER_PAGE = 20
_MOST_FOUND = 200
_MOST_OWNERS = 10


class AssignProjectRequest(msgspec.Struct):
    """`PUT sessions/{id}/project`."""

    project_id: str


def list_sessions(core: CoreState, request: CoreRequest, _now: float) -> Answer:
    """`GET sessions`."""
    require_scope(request)
    page, _ = page_of(request, core.catalog.sessions(), _SESSIONS_PER_PAGE)
    return ok(ListSessionsResponse([record.session_id for record in page]))


def get_session(core: CoreState, request: CoreRequest, _now: float, session_id: str) -> Answer:
    """`GET sessions/{id}`: also of one that has ended."""
    require_scope(request)
    record = core.catalog.session(session_id)
    return ok(
        GetSessionResponse(
            core.catalog.runs_of(session_id),
            core.catalog.samplers_of(session_id),
            metadata_of(record.user_metadata),
            record.display_name,
        )
    )


def assign_project(core: CoreState, request: CoreRequest, _now: float, session_id: str) -> Answer:
    """`PUT sessions/{id}/project`."""
    project = read(request, AssignProjectRequest).project_id
    record = core.catalog.session(session_id)
    core.catalog.put_session(msgspec.structs.replace(record, project_id=project))
    return ok({"session_id": session_id, "project_id": project})


def export_trace(core: CoreState, _request: CoreRequest, _now: float, session_id: str) -> Answer:
    """`GET sessions/{id}/trace_export`: this server keeps no traces, and says so."""
    core.catalog.session(session_id)
    return ok({"status": "failed", "url": None, "error": "This server keeps no traces of its sessions."})


def search_sessions(core: CoreState, request: CoreRequest, _now: float) -> Answer:
    """`POST sessions/search`: the newest first, in parts."""
    asked = read(request, SessionSearchRequest)
    if not 1 <= asked.limit <= _MOST_FOUND:
        raise RefusedError(422, f"limit must be 1 to {_MOST_FOUND}, got {asked.limit}.")
    if isinstance(asked.owner, UserSearchOwner) and not 1 <= len(asked.owner.owner_urns) <= _MOST_OWNERS:
        raise RefusedError(422, f"owner_urns must name 1 to {_MOST_OWNERS} owners.")
    found = sorted((record for record in core.catalog.sessions() if _fits(record, asked)), key=_place, reverse=True)
    page = found[: asked.limit]
    following = None
    if len(found) > len(page):
        following = SessionSearchCursor(time_of(page[-1].created_at), page[-1].session_id)
    return ok(SessionSearchResponse(_summaries(core, page), following))


def _fits(record: SessionRecord, asked: SessionSearchRequest) -> bool:
    metadata = metadata_of(record.user_metadata) or {}
    wanted = metadata_of(asked.user_metadata) or {}
    return (
        (asked.session_id is None or record.session_id == asked.session_id)
        and (asked.project_ids is None or (record.project_id or DEFAULT_PROJECT) in asked.project_ids)
        and all(metadata.get(key) == value for key, value in wanted.items())
        and (asked.display_name is None or record.display_name == asked.display_name)
        and (not isinstance(asked.owner, UserSearchOwner) or jwt.user_urn(record.owner) in asked.owner.owner_urns)
        and (asked.statuses is None or any(_is_in(record, status) for status in asked.statuses))
        and (asked.cursor is None or _is_behind(record, asked.cursor))
    )


def _is_in(record: SessionRecord, status: SessionStatusQuery) -> bool:
    return record.status == status.type and (status.reasons is None or _reason_of(record).type in status.reasons)


def _is_behind(record: SessionRecord, cursor: SessionSearchCursor) -> bool:
    return _place(record) < (cursor.last_created_at, cursor.last_session_id)


def _place(record: SessionRecord) -> tuple[datetime, str]:
    return time_of(record.created_at), record.session_id


def _summaries(core: CoreState, records: list[SessionRecord]) -> list[SessionSummary]:
    sizes: dict[str, list[int]] = {}
    for meta in core.catalog.own_checkpoints(core.wall):
        sizes.setdefault(ids.session_of(run_of(meta)), []).append(meta.size_bytes)
    return [_summary(record, sizes.get(record.session_id, [])) for record in records]


def _summary(record: SessionRecord, sizes: list[int]) -> SessionSummary:
    return SessionSummary(
        session_id=record.session_id,
        created_at=time_of(record.created_at),
        owner=jwt.user_urn(record.owner),
        project_id=record.project_id or DEFAULT_PROJECT,
        checkpoints_count=len(sizes),
        status=_status_of(record),
        display_name=record.display_name,
        user_metadata=metadata_of(record.user_metadata),
        checkpoint_storage_bytes=sum(sizes),
    )


def _status_of(record: SessionRecord) -> SessionStatus:
    if record.status == "active":
        return SessionActive()
    if record.status == "cancelled":
        return SessionCancelled(record.detail)
    return ClientSessionFinished(_reason_of(record), record.detail)


def _reason_of(record: SessionRecord) -> ClientSessionFinishReason:
    return ClientSessionFinishReason(cast("ClientSessionFinishReasonType", record.reason or "success"))
