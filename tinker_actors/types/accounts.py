"""Accounts: who one is, what was done in one's name, and what was used."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec


class AuthTokenResponse(msgspec.Struct, eq=False):
    """A token to use in place of the API key for a while."""

    jwt: str

    def __repr__(self) -> str:
        return "AuthTokenResponse(jwt=...)"


class WhoamiResponse(msgspec.Struct, eq=False):
    """Who one is.

    Attributes:
        user_urn: name of the user.
        org_urn: name of the organization.
        email: address of the user.
    """

    user_urn: str
    org_urn: str
    email: str | None = None


class AuditLogEntry(msgspec.Struct, eq=False):
    """Something that was done.

    Attributes:
        timestamp: when.
        event: what, e.g. `"checkpoint.delete"`.
        event_details: more about it.
        model_id: the run it was done to.
        tinker_path: the checkpoint it was done to.
        purpose: what for, when the server says so.
    """

    timestamp: datetime
    event: str
    event_details: dict[str, Any] = msgspec.field(default_factory=dict)
    model_id: str | None = None
    tinker_path: str | None = None
    purpose: str | None = None


class AuditLogResponse(msgspec.Struct, eq=False):
    """What was done on one day, in order."""

    entries: list[AuditLogEntry]


class TrainingBillingEvent(msgspec.Struct, tag_field="type", tag="training", eq=False):
    """Tokens trained on."""

    token_count: int


class SamplingPrefillBillingEvent(msgspec.Struct, tag_field="type", tag="sampling_prefill", eq=False):
    """Prompt tokens read, from a cache or not."""

    cached: bool
    token_count: int


class SamplingSampleBillingEvent(msgspec.Struct, tag_field="type", tag="sampling_sample", eq=False):
    """Tokens drawn."""

    token_count: int


class CheckpointBillingEvent(msgspec.Struct, tag_field="type", tag="checkpoint", eq=False):
    """Checkpoints saved."""

    count: int


class StorageBillingEvent(msgspec.Struct, tag_field="type", tag="storage", eq=False):
    """Space taken by checkpoints over time."""

    gigabyte_hours: float
    free: bool = False


BillingEventInfo = (
    TrainingBillingEvent
    | SamplingPrefillBillingEvent
    | SamplingSampleBillingEvent
    | CheckpointBillingEvent
    | StorageBillingEvent
)


class BillingUsageEvent(msgspec.Struct, eq=False, kw_only=True):
    """What was used of one thing in one hour.

    Attributes:
        bucket_start: the hour's beginning.
        bucket_end: its end.
        event_info: what was used, and how much of it.
        base_model: with which base model.
        user_id: by whom.
        user_name: what they are called.
        session_id: in which session.
        project_id: for which project.
        estimated_cost_usd: what it cost.
        effective_rate_usd_per_million_tokens: at what rate, for tokens.
        effective_rate_usd_per_gigabyte_month: at what rate, for storage.
    """

    bucket_start: datetime
    bucket_end: datetime
    event_info: BillingEventInfo
    base_model: str | None = None
    user_id: str | None = None
    user_name: str | None = None
    session_id: str | None = None
    project_id: str | None = None
    estimated_cost_usd: float | None = None
    effective_rate_usd_per_million_tokens: float | None = None
    effective_rate_usd_per_gigabyte_month: float | None = None


class BillingUsageSession(msgspec.Struct, eq=False):
    """What was said about a session when it was created."""

    user_metadata: dict[str, Any] | None = None


class BillingUsageResponse(msgspec.Struct, eq=False):
    """What was used over some hours.

    Attributes:
        data: the events, by time.
        sessions: the sessions that they name, by id.
        cost_data_through: until when costs are known.
    """

    data: list[BillingUsageEvent]
    sessions: dict[str, BillingUsageSession] = msgspec.field(default_factory=dict)
    cost_data_through: datetime | None = None


class CurrentCheckpointStorageUsageItem(msgspec.Struct, eq=False, kw_only=True):
    """What the checkpoints of one project and user take now.

    Attributes:
        checkpoint_count: how many there are.
        size_bytes: their size.
        size_gigabytes: the same in units of 10^9 bytes.
        project_id: the project.
        org_user_urn: the user.
        user_email: the user's address.
        user_name: what the user is called.
        estimated_monthly_cost_usd: what a month of it costs.
    """

    checkpoint_count: int
    size_bytes: int
    size_gigabytes: float
    project_id: str | None = None
    org_user_urn: str | None = None
    user_email: str | None = None
    user_name: str | None = None
    estimated_monthly_cost_usd: float | None = None


class CurrentCheckpointStorageUsageResponse(msgspec.Struct, eq=False):
    """What checkpoints take now.

    Attributes:
        data: one entry per project.
        effective_rate_usd_per_gigabyte_month: at what rate.
    """

    data: list[CurrentCheckpointStorageUsageItem]
    effective_rate_usd_per_gigabyte_month: float | None = None
