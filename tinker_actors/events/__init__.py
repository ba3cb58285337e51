"""Events: what happened, as frozen records, for whoever subscribes.

Emitting never blocks and never fails: callables run on the delivery thread, actors are told a message.
"""

from __future__ import annotations

from tinker_actors.events.records import (
    ActorCrashed,
    Event,
    LaneReplaced,
    SessionCreated,
    SessionLost,
    StepRefused,
)

__all__ = ["ActorCrashed", "Event", "LaneReplaced", "SessionCreated", "SessionLost", "StepRefused"]
