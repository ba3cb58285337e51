"""Ids: their form, and what can be read from them.

Clients compute model ids themselves (wire protocol 3.13), so their form is part of the wire.
"""

from __future__ import annotations

import hashlib
import re

from tinker_actors.local.core.requests.messages import RefusedError

_CHECKPOINT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")


def model_id(session_id: str, model_seq_id: int) -> str:
    """Return the id of a session's model."""
    return f"{session_id}:train:{model_seq_id}"


def sampler_id(session_id: str, sampling_session_seq_id: int) -> str:
    """Return the id of a session's sampler."""
    return f"{session_id}:sample:{sampling_session_seq_id}"


def number_of(any_id: str) -> int:
    """Return the number that a model's or sampler's id ends with."""
    return int(any_id.rpartition(":")[2])


def session_of(any_id: str) -> str:
    """Return the session id that a model's or sampler's id begins with."""
    return any_id.partition(":")[0]


def sequence_ids(request_id: str, count: int) -> list[str]:
    """Return the names of the sequences that a sample request will draw."""
    return [f"{request_id}:{index}" for index in range(count)]


def seed_from(text: str) -> int:
    """Return a seed below 2**63 for something whose user gave none; ids are random, so the seed is."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def require_checkpoint_name(name: str) -> str:
    """Return a checkpoint's bare name if it can be one part of a path.

    Raises:
        RefusedError: 400, it can't.
    """
    if not _CHECKPOINT_NAME.fullmatch(name):
        raise RefusedError(
            400,
            f"{name[:300]!r} can't name a checkpoint: use 1 to 255 letters, digits, '_', '-' and '.', "
            f"beginning with a letter, a digit or '_'.",
        )
    return name
