"""What a session is opened with, and what it is told and tells beside its numbers: that it is there, that it ends."""

from __future__ import annotations

from typing import Any

import msgspec

from tinker_actors.errors import TinkerError
from tinker_actors.protocol.session_life import NO_RECOVERY, LossPolicy
from tinker_actors.runtime.actor import Ref
from tinker_actors.types.wire import ClientConfigResponse


class SessionSettings(msgspec.Struct, frozen=True, eq=False):
    """What a session is opened with.

    Attributes:
        user_metadata: stored with the session.
        display_name: its name for people.
        session_id: a session that another process opened and will finish; it is only kept alive from here.
        said: what the server said in `client/config`, as JSON, when that is known already.
        refusal: why there can't be a session at all; everything asked of it fails with this.
        on_loss: what its loss leads to.
    """

    user_metadata: dict[str, Any] | None = None
    display_name: str | None = None
    session_id: str | None = None
    said: bytes = b""
    refusal: TinkerError | None = None
    on_loss: LossPolicy = NO_RECOVERY


class Meet(msgspec.Struct, frozen=True, eq=False):
    """To the session: tell me `Met` once there is a session, and from then on what becomes of it.

    Attributes:
        reply_to: whom to tell.
    """

    reply_to: Ref


class Met(msgspec.Struct, frozen=True, eq=False):
    """From the session: it is there.

    Attributes:
        server: what the server said in `client/config`.
    """

    server: ClientConfigResponse


class FinishSession(msgspec.Struct, frozen=True, eq=False):
    """To the session: tell the server that we are done, and stop.

    Attributes:
        status: `"success"`, `"errored"` or `"interrupted"`.
        detail: a sentence about it.
        patience: seconds for which telling the server may be tried again. The first attempt gets a second in any case.
    """

    status: str
    detail: str | None
    patience: float
