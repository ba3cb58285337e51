"""Sessions: what a server tells about sessions, living and ended."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

AccessScope = Literal["owned", "accessible"]
ClientSessionFinishReasonType = Literal["success", "errored", "interrupted"]


class ListSessionsResponse(msgspec.Struct, eq=False):
    """Ids of sessions, the newest first."""

    sessions: list[str]


class GetSessionResponse(msgspec.Struct, eq=False):
    """A session.

    Attributes:
        training_run_ids: its models.
        sampler_ids: its samplers.
        user_metadata: what was said about it when it was created.
        display_name: what its user calls it.
    """

    training_run_ids: list[str]
    sampler_ids: list[str]
    user_metadata: dict[str, Any] | None = None
    display_name: str | None = None


class SessionActive(msgspec.Struct, tag_field="type", tag="active", eq=False):
    """The session lives."""


class SessionCancelled(msgspec.Struct, tag_field="type", tag="cancelled", eq=False):
    """The server ended the session; `detail` says why."""

    detail: str | None = None


class SessionFailed(msgspec.Struct, tag_field="type", tag="failed", eq=False):
    """Something in the session failed for good.

    Attributes:
        category: whose fault it was.
        reason: what failed, a request, a training run or a sampling session: its `type` and ids.
        message: what happened.
    """

    category: Literal["user", "internal"]
    reason: dict[str, Any]
    message: str


class ClientSessionFinishReason(msgspec.Struct, eq=False):
    """What the client gave as the reason to finish."""

    type: ClientSessionFinishReasonType = "success"


class ClientSessionFinished(msgspec.Struct, tag_field="type", tag="client_finished", eq=False):
    """The client finished the session.

    Attributes:
        reason: how it went.
        detail: more words about it.
    """

    reason: ClientSessionFinishReason
    detail: str | None = None


SessionStatus = SessionActive | SessionCancelled | SessionFailed | ClientSessionFinished


class SessionSummary(msgspec.Struct, eq=False):
    """A session found by a search.

    Attributes:
        session_id: its id.
        created_at: when it was created.
        owner: whose it is.
        project_id: the project it is counted to.
        checkpoints_count: how many checkpoints its models saved.
        status: whether it lives, or how it ended.
        display_name: what its user calls it.
        user_metadata: what was said about it when it was created.
        checkpoint_storage_bytes: size of those checkpoints.
    """

    session_id: str
    created_at: datetime
    owner: str
    project_id: str
    checkpoints_count: int
    status: SessionStatus | None = None
    display_name: str | None = None
    user_metadata: dict[str, Any] | None = None
    checkpoint_storage_bytes: int | None = None


class SessionSearchCursor(msgspec.Struct, eq=False):
    """Where a search goes on: behind this session."""

    last_created_at: Annotated[datetime, msgspec.Meta(tz=True)]
    last_session_id: str


class OwnSearchOwner(msgspec.Struct, tag_field="type", tag="own", eq=False):
    """Sessions of one's own."""


class AccessibleSearchOwner(msgspec.Struct, tag_field="type", tag="accessible", eq=False):
    """All sessions that one may see."""


class UserSearchOwner(msgspec.Struct, tag_field="type", tag="user", eq=False):
    """Sessions of the users named."""

    owner_urns: list[str]


SearchOwner = OwnSearchOwner | AccessibleSearchOwner | UserSearchOwner


class SessionStatusQuery(msgspec.Struct, eq=False):
    """A kind of status to search for.

    Attributes:
        type: the kind.
        reasons: for `client_finished`: only these reasons; None for any.
    """

    type: Literal["active", "cancelled", "failed", "client_finished"]
    reasons: list[ClientSessionFinishReasonType] | None = None


class SessionSearchRequest(msgspec.Struct, eq=False, kw_only=True):
    """What to search for; everything given has to fit.

    Attributes:
        session_id: this very session.
        project_ids: counted to one of these projects.
        user_metadata: has these entries.
        display_name: called exactly this.
        owner: whose sessions.
        statuses: in one of these states.
        limit: most sessions in one answer, 1 to 200.
        cursor: from an earlier answer: go on behind it.
    """

    session_id: str | None = None
    project_ids: list[str] | None = None
    user_metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    display_name: str | None = None
    owner: SearchOwner = msgspec.field(default_factory=OwnSearchOwner)
    statuses: list[SessionStatusQuery] | None = None
    limit: int = 50
    cursor: SessionSearchCursor | None = None


class SessionSearchResponse(msgspec.Struct, eq=False):
    """Sessions found, the newest first.

    Attributes:
        sessions: the sessions.
        next_cursor: for the next part; None when this is the last.
    """

    sessions: list[SessionSummary]
    next_cursor: SessionSearchCursor | None = None
