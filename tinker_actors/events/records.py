"""Event records: one frozen class per thing that can happen."""

from __future__ import annotations

import msgspec


class Event(msgspec.Struct, frozen=True):
    """Base of all events."""


class SessionCreated(Event, frozen=True):
    """A session was opened on the server.

    Attributes:
        session_id: its id.
    """

    session_id: str


class SessionLost(Event, frozen=True):
    """The server no longer knows the session.

    Attributes:
        session_id: the id it had.
        error: the error that its pending operations fail with.
    """

    session_id: str
    error: BaseException


class StepRefused(Event, frozen=True):
    """An optimizer step was not applied, or had nothing to apply, because a gradient operation before it failed.

    Attributes:
        model_id: the model.
        error: the error of that step.
    """

    model_id: str
    error: BaseException


class LaneReplaced(Event, frozen=True):
    """A lane died or stopped answering, and a new one took over its requests.

    Attributes:
        lane: its name.
        in_flight: how many requests were taken over.
        error: what killed it, or None when it stopped answering.
    """

    lane: str
    in_flight: int
    error: BaseException | None


class ActorCrashed(Event, frozen=True):
    """An actor died of a defect.

    Attributes:
        name: which one.
        error: the exception.
    """

    name: str
    error: BaseException | None
