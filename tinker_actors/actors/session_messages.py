"""What a session is told and tells, beside its numbers: that it is there, and that it ends."""

from __future__ import annotations

import msgspec

from tinker_actors.runtime.actor import Ref
from tinker_actors.types.wire import ClientConfigResponse


class Meet(msgspec.Struct, frozen=True, eq=False):
    """To the session: tell me `Met` once there is a session, and `NoSession` when there is none or it is lost.

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
