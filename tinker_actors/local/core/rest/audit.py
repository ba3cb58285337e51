"""Audit: what was done to checkpoints and by whom, since the server was started."""

from __future__ import annotations

import logging
from collections import deque
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from tinker_actors.local.core.requests.messages import Answer, CoreRequest, RefusedError, ok
from tinker_actors.local.core.rest.describing import time_of
from tinker_actors.local.core.rest.paging import query_of
from tinker_actors.types.accounts import AuditLogEntry, AuditLogResponse
from tinker_actors.types.paths import ParsedCheckpointTinkerPath

if TYPE_CHECKING:
    from tinker_actors.local.core.state import CoreState

_LOG = logging.getLogger(__name__)

_KINDS = ("all", "checkpoints", "projects", "teams", "organizations")
_KEPT = 100_000


class Audit:
    """What was done, in order; the oldest entries are dropped when there are very many."""

    def __init__(self) -> None:
        self._entries: deque[tuple[str, AuditLogEntry]] = deque(maxlen=_KEPT)

    def note(self, core: CoreState, owner: str, event: str, path: str, **details: Any) -> None:
        """Note that an owner did something to a checkpoint."""
        run = ParsedCheckpointTinkerPath.from_tinker_path(path).training_run_id
        _LOG.info("%s: %s %s", owner, event, path)
        self._entries.append((owner, AuditLogEntry(time_of(core.wall), event, details, run, path)))

    def entries(self, owner: str, day: date) -> list[AuditLogEntry]:
        """Return what an owner did on a day (UTC)."""
        return [entry for who, entry in self._entries if who == owner and entry.timestamp.date() == day]


def get_audit(core: CoreState, request: CoreRequest, _now: float) -> Answer:
    """`GET audit`: of one day, today unless another is named. Everything here was done to checkpoints."""
    query = query_of(request)
    kind = query.get("event_type", "all")
    if kind not in _KINDS:
        raise RefusedError(422, f"event_type must be one of {', '.join(_KINDS)}.")
    try:
        day = date.fromisoformat(query["day"]) if "day" in query else datetime.fromtimestamp(core.wall, UTC).date()
    except ValueError as error:
        raise RefusedError(422, "day must be a date, YYYY-MM-DD.") from error
    wanted = kind in ("all", "checkpoints")
    return ok(AuditLogResponse(core.audit.entries(core.caller.name, day) if wanted else []))
