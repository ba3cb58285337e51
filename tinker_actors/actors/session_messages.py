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
        done: told `Finished` when the server knows, or can't be told.
    """

    status: str
    detail: str | None
    done: Ref | None = None


class Finished(msgspec.Struct, frozen=True, eq=False):
    """From the session: it has ended on the server, or could not be ended there."""
