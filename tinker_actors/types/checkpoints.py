"""Checkpoints: what a server tells about saved weights."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

CheckpointType = Literal["training", "sampler", "external"]


class Cursor(msgspec.Struct, eq=False):
    """Which part of a list an answer holds.

    Attributes:
        offset: entries left out before it.
        limit: most entries it may hold.
        total_count: entries of the whole list.
    """

    offset: int
    limit: int
    total_count: int


class Checkpoint(msgspec.Struct, eq=False):
    """A checkpoint.

    Attributes:
        checkpoint_id: `weights/<name>`, `sampler_weights/<name>` or `external_weights/<name>`.
        checkpoint_type: what it was saved for.
        time: when it was saved.
        tinker_path: its whole path.
        size_bytes: its size, when the server says so.
        public: whether everybody may load it.
        user_metadata: what was said about it when it was saved.
        expires_at: when it goes; None for never.
    """

    checkpoint_id: str
    checkpoint_type: CheckpointType
    time: datetime
    tinker_path: str
    size_bytes: int | None = None
    public: bool = False
    user_metadata: dict[str, Any] | None = None
    expires_at: datetime | None = None


class CheckpointsListResponse(msgspec.Struct, eq=False):
    """Checkpoints, of one run or of a user.

    Attributes:
        checkpoints: the newest first.
        cursor: which part of the list this is, for lists that come in parts.
    """

    checkpoints: list[Checkpoint]
    cursor: Cursor | None = None


class CheckpointArchiveUrlResponse(msgspec.Struct, eq=False):
    """Where a checkpoint can be downloaded.

    Attributes:
        url: needs no key; whoever has it can download.
        expires: when it stops working.
    """

    url: str
    expires: datetime


class ExternalWeightsUrlsResponse(msgspec.Struct, eq=False):
    """Where the files of exported weights can be downloaded.

    Attributes:
        urls: relative path -> URL that needs no key.
        expires: when they stop working.
    """

    urls: dict[str, str]
    expires: datetime


class CopyWeightsResponse(msgspec.Struct, eq=False):
    """A checkpoint was copied.

    Attributes:
        tinker_path: the copy's path.
    """

    tinker_path: str
