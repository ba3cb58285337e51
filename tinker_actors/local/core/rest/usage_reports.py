"""REST: what was used, and what checkpoints take."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tinker_actors.local.core import ids
from tinker_actors.local.core.access import jwt
from tinker_actors.local.core.requests.messages import Answer, CoreRequest, RefusedError, ok
from tinker_actors.local.core.rest.describing import metadata_of, run_of, time_of
from tinker_actors.local.core.rest.paging import query_of
from tinker_actors.local.core.rest.usage import HOUR, event_of
from tinker_actors.types.accounts import (
    BillingUsageResponse,
    BillingUsageSession,
    CurrentCheckpointStorageUsageItem,
    CurrentCheckpointStorageUsageResponse,
)

if TYPE_CHECKING:
    from tinker_actors.local.core.state import CoreState

_LONGEST_HOURS = 14 * 24
_GIGABYTE = 10**9


def get_usage(core: CoreState, request: CoreRequest, _now: float) -> Answer:
    """`GET billing/usage/events`: the caller's, in a window of whole hours."""
    query = query_of(request)
    first, end = _hour(query, "starting_on"), _hour(query, "ending_before")
    if not 0 < end - first <= _LONGEST_HOURS:
        raise RefusedError(422, "ending_before must be after starting_on, by 14 days at most.")
    counts = core.usage.between(core.caller.name, first, end)
    events = [event_of(bucket, amount, core.catalog.project_of(bucket.session_id)) for bucket, amount in counts]
    sessions = {
        record.session_id: BillingUsageSession(metadata_of(record.user_metadata))
        for record in core.catalog.known_sessions(dict.fromkeys(bucket.session_id for bucket, _ in counts))
    }
    return ok(BillingUsageResponse(events, sessions, time_of(core.wall)))


def get_storage(core: CoreState, request: CoreRequest, _now: float) -> Answer:
    """`GET billing/usage/checkpoints/current`: the caller's, by project."""
    wanted = query_of(request).get("project_id")
    sizes: defaultdict[str | None, list[int]] = defaultdict(list)
    for meta in core.catalog.own_checkpoints(core.wall):
        sizes[core.catalog.project_of(ids.session_of(run_of(meta)))].append(meta.size_bytes)
    owner = core.caller.name
    items = [
        CurrentCheckpointStorageUsageItem(
            checkpoint_count=len(found),
            size_bytes=sum(found),
            size_gigabytes=sum(found) / _GIGABYTE,
            project_id=project,
            org_user_urn=jwt.user_urn(owner),
            user_email=jwt.email_of(owner),
            user_name=owner,
            estimated_monthly_cost_usd=0.0,
        )
        for project, found in sizes.items()
        if wanted is None or project == wanted
    ]
    return ok(CurrentCheckpointStorageUsageResponse(items, 0.0))


def _hour(query: dict[str, str], name: str) -> int:
    try:
        moment = datetime.fromisoformat(query[name])
    except (KeyError, ValueError) as error:
        raise RefusedError(422, f"{name} must be a time, like 2026-01-31T12:00:00Z.") from error
    seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if seconds % HOUR:
        raise RefusedError(422, f"{name} must be a whole hour.")
    return int(seconds) // HOUR
