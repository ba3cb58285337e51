"""Usage: tokens trained on, read and drawn, by hour, since the server was started."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal, NamedTuple

from tinker_actors.local.core import ids
from tinker_actors.local.core.access import jwt
from tinker_actors.local.core.rest.describing import time_of
from tinker_actors.types.accounts import (
    BillingEventInfo,
    BillingUsageEvent,
    CheckpointBillingEvent,
    SamplingPrefillBillingEvent,
    SamplingSampleBillingEvent,
    TrainingBillingEvent,
)

if TYPE_CHECKING:
    from tinker_actors.local.core.state import CoreState

What = Literal["training", "prefill", "prefill_cached", "sample", "checkpoint"]

HOUR = 3600


class Bucket(NamedTuple):
    """What is counted together."""

    hour: int
    owner: str
    session_id: str
    base_model: str
    what: What


class Usage:
    """Counts by bucket. For the core's own thread."""

    def __init__(self) -> None:
        self._counts: Counter[Bucket] = Counter()

    def count(self, core: CoreState, any_id: str | None, owner: str, base_model: str, what: What, amount: int) -> None:
        """Add to a count.

        Args:
            core: tells the time.
            any_id: the session, model or sampler that used it, or None.
            owner: for whom.
            base_model: with which base model.
            what: what was used.
            amount: how much of it; nothing is noted for 0.
        """
        if amount:
            session_id = "" if any_id is None else ids.session_of(any_id)
            self._counts[Bucket(int(core.wall // HOUR), owner, session_id, base_model, what)] += amount

    def between(self, owner: str, first_hour: int, end_hour: int) -> list[tuple[Bucket, int]]:
        """Return an owner's counts from one hour until before another, by time; hours count from 1970."""
        found = [(bucket, amount) for bucket, amount in self._counts.items() if bucket.owner == owner]
        return sorted(item for item in found if first_hour <= item[0].hour < end_hour)


def event_of(bucket: Bucket, amount: int, project_id: str | None) -> BillingUsageEvent:
    """Return a count as the wire shows it. Nothing costs anything here."""
    return BillingUsageEvent(
        bucket_start=time_of(bucket.hour * HOUR),
        bucket_end=time_of((bucket.hour + 1) * HOUR),
        event_info=_info(bucket.what, amount),
        base_model=bucket.base_model,
        user_id=jwt.user_urn(bucket.owner),
        user_name=bucket.owner,
        session_id=bucket.session_id or None,
        project_id=project_id,
        estimated_cost_usd=0.0,
    )


def _info(what: What, amount: int) -> BillingEventInfo:
    if what == "training":
        return TrainingBillingEvent(amount)
    if what == "sample":
        return SamplingSampleBillingEvent(amount)
    if what == "checkpoint":
        return CheckpointBillingEvent(amount)
    return SamplingPrefillBillingEvent(cached=what == "prefill_cached", token_count=amount)
