"""Adopting: what becomes of checkpoints that the database does not list.

They are there where the database is missing, empty, older than they are or another one's. Nothing tells whether their
owner wants the database put right or the checkpoints taken in, so the store is not opened until that is said.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tinker_actors.errors import ConfigError
from tinker_actors.local.core.keeping import CheckpointMeta, RunRecord
from tinker_actors.local.store.manifest import Manifest
from tinker_actors.types.paths import ParsedCheckpointTinkerPath

_NAME_LENGTH = 200  # of 255 that a checkpoint's name may have: the rest is for what makes it another one


def refuse_unlisted(root: Path, unlisted: Iterable[tuple[Path, Manifest]]) -> None:
    """Do nothing where there are no unlisted checkpoints.

    Raises:
        ConfigError: there are some; it says how they can be taken in.
    """
    found = [known.checkpoint.path for _, known in unlisted]
    if found:
        raise ConfigError(
            f"{root} holds {len(found)} finished checkpoints that its database does not list, e.g. {found[0]}. The "
            f"database is missing, older than they are, or another one's; nothing has been changed.",
            advice=f"Put the right database back, or start once with --adopt to take them in (`tinker-actors serve "
            f"--data-dir {root} --adopt`, or local_server(data_dir={str(root)!r}, adopt=True)), or move them away.",
        )


def adopted(
    unlisted: Iterable[tuple[Path, Manifest]], taken: Mapping[str, Any]
) -> Iterator[tuple[CheckpointMeta, Path]]:
    """Yield what is to be listed from now on, the newest first.

    What was just found is not to go by itself, nor to be seen by others: an adopted checkpoint has no end and is not
    public, whatever it was. One whose path is taken gets a path of its own beside it.

    Args:
        unlisted: the checkpoints, with what they say about themselves.
        taken: the paths that are listed; looked at again for each.
    """
    for folder, known in sorted(unlisted, key=lambda found: found[1].checkpoint.created_at, reverse=True):
        meta = msgspec.structs.replace(known.checkpoint, ttl_seconds=None, expires_at=None, public=False)
        if meta.path in taken:
            place, _, name = meta.path.rpartition("/")
            meta = msgspec.structs.replace(meta, path=f"{place}/{name[:_NAME_LENGTH]}-{secrets.token_hex(4)}")
        yield meta, folder


def run_of(meta: CheckpointMeta) -> RunRecord:
    """Return the record of the training run that a checkpoint was saved from, as far as the checkpoint tells it."""
    return RunRecord(
        run_id=ParsedCheckpointTinkerPath.from_tinker_path(meta.path).training_run_id,
        owner=meta.owner,
        base_model=meta.base_model,
        lora=meta.lora,
        created_at=meta.created_at,
        last_request_at=meta.created_at,
        user_metadata=None,
    )
