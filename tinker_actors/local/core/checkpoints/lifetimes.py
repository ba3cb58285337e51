"""Lifetimes: how long a checkpoint may be asked to be kept."""

from __future__ import annotations

from tinker_actors.local.core.requests.messages import RefusedError

SHORTEST_TTL = 3600
LONGEST_TTL = 10 * 365 * 24 * 3600
"""Seconds; 1 hour to 10 years (wire protocol 2.3)."""


def require_ttl(seconds: int | None) -> None:
    """Check a time to live; None is for ever.

    Raises:
        RefusedError: 400, too short or too long.
    """
    if seconds is not None and not SHORTEST_TTL <= seconds <= LONGEST_TTL:
        raise RefusedError(
            400,
            f"ttl_seconds must be {SHORTEST_TTL} (an hour) to {LONGEST_TTL} (ten years), or null for ever; "
            f"got {seconds}.",
        )
