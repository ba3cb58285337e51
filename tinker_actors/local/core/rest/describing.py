"""Describing: records as the wire shows them (wire protocol 3.11)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tinker_actors.local.core.keeping import CheckpointMeta, RunRecord
from tinker_actors.types.checkpoints import Checkpoint
from tinker_actors.types.paths import ParsedCheckpointTinkerPath
from tinker_actors.types.runs import TrainingRun


def time_of(wall: float) -> datetime:
    """Return a time in seconds since 1970 as a date."""
    return datetime.fromtimestamp(wall, UTC)


def metadata_of(given: Mapping[str, Any] | None) -> dict[str, str] | None:
    """Return a user's metadata with texts as values, which is all that the official client reads."""
    if given is None:
        return None
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in given.items()}


def checkpoint_of(meta: CheckpointMeta) -> Checkpoint:
    """Return a checkpoint as listings show it."""
    return Checkpoint(
        checkpoint_id=ParsedCheckpointTinkerPath.from_tinker_path(meta.path).checkpoint_id,
        checkpoint_type=meta.kind,
        time=time_of(meta.created_at),
        tinker_path=meta.path,
        size_bytes=meta.size_bytes,
        public=meta.public,
        user_metadata=metadata_of(meta.user_metadata),
        expires_at=None if meta.expires_at is None else time_of(meta.expires_at),
    )


def run_of(meta: CheckpointMeta) -> str:
    """Return the id of the training run that a checkpoint belongs to."""
    return ParsedCheckpointTinkerPath.from_tinker_path(meta.path).training_run_id


def training_run_of(record: RunRecord, checkpoints: Sequence[CheckpointMeta]) -> TrainingRun:
    """Return a training run as listings show it.

    Args:
        record: the run.
        checkpoints: its checkpoints, the newest first.
    """
    newest: dict[str, Checkpoint] = {}
    for meta in checkpoints:
        if meta.kind not in newest:
            newest[meta.kind] = checkpoint_of(meta)
    return TrainingRun(
        training_run_id=record.run_id,
        base_model=record.base_model,
        model_owner=record.owner,
        is_lora=True,
        last_request_time=time_of(record.last_request_at),
        lora_rank=record.lora.rank,
        last_checkpoint=newest.get("training"),
        last_sampler_checkpoint=newest.get("sampler"),
        user_metadata=metadata_of(record.user_metadata),
    )
