"""REST routes: the table of what can be listed, looked up and changed besides training and sampling."""

from __future__ import annotations

from collections.abc import Callable

from tinker_actors.local.core import (
    accounts,
    archives,
    audit,
    checkpointing,
    copying,
    rest_checkpoints,
    rest_runs,
    rest_sessions,
    rest_usage,
)
from tinker_actors.local.core.messages import Answer

_CHECKPOINT = "training_runs/{}/checkpoints/{ckpt}"

REST_ROUTES: list[tuple[str, str, Callable[..., Answer]]] = [
    ("POST", "auth/token", accounts.exchange_token),
    ("GET", "auth/apikey/me", accounts.get_key),
    ("DELETE", "auth/apikey/me", accounts.delete_key),
    ("GET", "sessions", rest_sessions.list_sessions),
    ("POST", "sessions/search", rest_sessions.search_sessions),
    ("GET", "sessions/{}", rest_sessions.get_session),
    ("PUT", "sessions/{}/project", rest_sessions.assign_project),
    ("GET", "sessions/{}/trace_export", rest_sessions.export_trace),
    ("GET", "training_runs", rest_runs.list_training_runs),
    ("GET", "training_runs/{}", rest_runs.get_training_run),
    ("GET", "training_runs/{}/checkpoints", rest_runs.list_checkpoints),
    ("GET", "checkpoints", rest_checkpoints.list_user_checkpoints),
    ("DELETE", _CHECKPOINT, rest_checkpoints.delete_checkpoint),
    ("POST", f"{_CHECKPOINT}/publish", rest_checkpoints.publish_checkpoint),
    ("DELETE", f"{_CHECKPOINT}/publish", rest_checkpoints.unpublish_checkpoint),
    ("PUT", f"{_CHECKPOINT}/ttl", rest_checkpoints.set_ttl),
    ("GET", f"{_CHECKPOINT}/archive", archives.get_archive),
    ("GET", f"{_CHECKPOINT}/external_weights_urls", archives.get_external_urls),
    ("GET", "archives/{}/{ckpt}", archives.download_archive),
    ("POST", "save_weights_external", checkpointing.save_weights_external),
    ("POST", "copy_weights", copying.copy_weights),
    ("GET", "audit", audit.get_audit),
    ("GET", "billing/usage/events", rest_usage.get_usage),
    ("GET", "billing/usage/checkpoints/current", rest_usage.get_storage),
]
"""Method, path below the prefix (`{}` for an id, `{ckpt}` for a checkpoint's with its slash), handler."""
