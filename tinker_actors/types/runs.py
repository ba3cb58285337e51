"""Runs: what a server tells about training runs, which are models seen from later."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from tinker_actors.types.checkpoints import Checkpoint, Cursor


class TrainingRun(msgspec.Struct, eq=False):
    """A training run.

    Attributes:
        training_run_id: the model's id.
        base_model: what was trained.
        model_owner: whose it is.
        is_lora: whether an adapter was trained.
        last_request_time: when its client last asked something of it.
        corrupted: whether the server lost its weights.
        lora_rank: the adapter's rank.
        last_checkpoint: its newest training checkpoint.
        last_sampler_checkpoint: its newest sampler checkpoint.
        user_metadata: what was said about it when it was created.
    """

    training_run_id: str
    base_model: str
    model_owner: str
    is_lora: bool
    last_request_time: datetime
    corrupted: bool = False
    lora_rank: int | None = None
    last_checkpoint: Checkpoint | None = None
    last_sampler_checkpoint: Checkpoint | None = None
    user_metadata: dict[str, Any] | None = None


class TrainingRunsResponse(msgspec.Struct, eq=False):
    """Training runs, the one asked last first.

    Attributes:
        training_runs: the runs.
        cursor: which part of the list this is.
    """

    training_runs: list[TrainingRun]
    cursor: Cursor
