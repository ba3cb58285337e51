"""REST routes: the table of what can be listed, looked up and changed besides training and sampling."""

from __future__ import annotations

from collections.abc import Callable

from tinker_actors.local.core.access import accounts
from tinker_actors.local.core.checkpoints import archives, checkpointing, copying
from tinker_actors.local.core.requests.messages import Answer
from tinker_actors.local.core.rest import audit, checkpoints, runs, sessions, usage_reports

_CHECKPOINT = "training_runs/{}/checkpoints/{ckpt}"

REST_ROUTES: list[tuple[str, str, Callable[..., Answer]]] = [
    ("POST", "auth/token", accounts.exchange_token),
    ("GET", "auth/apikey/me", accounts.get_key),
    ("DELETE", "auth/apikey/me", accounts.delete_key),
    ("GET", "sessions", sessions.list_sessions),
    ("POST", "sessions/search", sessions.search_sessions),
    ("GET", "sessions/{}", sessions.get_session),
    ("PUT", "sessions/{}/project", sessions.assign_project),
    ("GET", "sessions/{}/trace_export", sessions.export_trace),
    ("GET", "training_runs", runs.list_training_runs),
    ("GET", "training_runs/{}", runs.get_training_run),
    ("GET", "training_runs/{}/checkpoints", runs.list_checkpoints),
    ("GET", "checkpoints", checkpoints.list_user_checkpoints),
    ("DELETE", _CHECKPOINT, checkpoints.delete_checkpoint),
    ("POST", f"{_CHECKPOINT}/publish", checkpoints.publish_checkpoint),
    ("DELETE", f"{_CHECKPOINT}/publish", checkpoints.unpublish_checkpoint),
    ("PUT", f"{_CHECKPOINT}/ttl", checkpoints.set_ttl),
    ("GET", f"{_CHECKPOINT}/archive", archives.get_archive),
    ("GET", f"{_CHECKPOINT}/external_weights_urls", archives.get_external_urls),
    ("GET", "archives/{}/{ckpt}", archives.download_archive),
    ("POST", "save_weights_external", checkpointing.save_weights_external),
    ("POST", "copy_weights", copying.copy_weights),
    ("GET", "audit", audit.get_audit),
    ("GET", "billing/usage/events", usage_reports.get_usage),
    ("GET", "billing/usage/checkpoints/current", usage_reports.get_storage),
]
"""Method, path below the prefix (`{}` for an id, `{ckpt}` for a checkpoint's with its slash), handler."""
