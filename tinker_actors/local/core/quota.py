"""Room: how much of the server's memory an owner may take with what is kept until he gives it up."""

from __future__ import annotations

from typing import Any

from tinker_actors.local.core.limits import Limits
from tinker_actors.local.core.requests.messages import RefusedError
from tinker_actors.protocol.codec import wire_json


def is_room(weight: int, mine: int, held: int, limit: int) -> bool:
    """Return whether an owner may take so much more memory.

    As much as is still free then, so that some is left for others; the only one there is taken whatever its size.

    Args:
        weight: what is to be added.
        mine: what the owner has.
        held: what all have.
        limit: what there is for all.
    """
    return not held or mine + weight <= limit - held - weight


def require_quota(what: str, count: int, most: int) -> None:
    """Check that an owner may have one more of something that takes memory until it is given up.

    Raises:
        RefusedError: 403, there are as many as the limit allows.
    """
    if count >= most:
        raise RefusedError(
            403,
            f"You have {count} {what}, as many as this server allows an owner. Close a client that is not needed any "
            "more, or start the server with a higher limit.",
        )


def require_notes(limits: Limits, **notes: Any) -> None:
    """Check what a user says about something of his, which is kept for as long as the server runs.

    Args:
        limits: how much is kept.
        **notes: what he says, by field: JSON values.

    Raises:
        RefusedError: 413, it is more than is kept.
    """
    count, left = 0, [notes]
    while left:
        item: Any = left.pop()
        inside = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        count += len(inside)
        if count > limits.note_values:
            break
        left.extend(inside)
    size = 0 if count > limits.note_values else len(wire_json.encode(notes))
    if count > limits.note_values or size > limits.note_bytes:
        raise RefusedError(
            413,
            f"{' and '.join(notes)} are kept as long as the server runs, and are too large for that: at most "
            f"{limits.note_bytes} bytes with {limits.note_values} values together.",
        )
