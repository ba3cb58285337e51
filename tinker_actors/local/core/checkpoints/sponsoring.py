"""Sponsoring: another owner's credential, sent along so that a request may read that owner's checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinker_actors.local.core.requests.messages import RefusedError

if TYPE_CHECKING:
    from tinker_actors.local.core.state import CoreState

TOKEN_HEADER = "x-tinker-weights-access-token"  # noqa: S105 - a header's name
"""Where `copy_weights` has it; `load_weights` has it in its body (wire protocol 1.4)."""


def sponsor_by(core: CoreState, credential: str | None) -> None:
    """Let the request that is being handled read what a credential's owner may read.

    Raises:
        RefusedError: 400, it is nobody's. Not 401: the caller's own key is fine.
    """
    if not credential:
        return
    try:
        core.caller.sponsor = core.access.owner_of(credential, core.wall)
    except RefusedError as refusal:
        raise RefusedError(400, f"The weights access token can't be used: {refusal.detail}") from refusal
