"""What a training actor lets others see without being asked."""

from __future__ import annotations

from tinker_actors.errors import TinkerError


class TrainingState:
    """Where the training of a model stands. Written by its actor, read by any thread.

    Attributes:
        sent: how many optimizer steps were sent so far; one that failed afterwards counts too.
        ended: why no operation will be sent any more, or None.
        policies: registry keys of the policies that publish these weights; any thread may add one.
    """

    __slots__ = ("ended", "policies", "sent")

    def __init__(self) -> None:
        self.sent = 0
        self.ended: TinkerError | None = None
        self.policies: set[int] = set()
