"""Terms: how a lane is to carry a sample, as a view of a sampler says.

Made in the caller's thread and read on the lane's; only a room's counts change, and only there.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Literal, get_args

import msgspec

Priority = Literal["train", "rollout", "eval"]
PRIORITIES: tuple[Priority, ...] = get_args(Priority)
"""From the most to the least urgent."""


class Room:
    """How many samples a view may have under way at a time; the others wait here, in order.

    Attributes:
        limit: the most at a time, at least 1.
        taken: how many are under way. Changed on the lane's thread only.
        waiting: works that wait for room. Used on the lane's thread only.
    """

    __slots__ = ("limit", "taken", "waiting")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0
        self.waiting: deque[Any] = deque()


class Terms(msgspec.Struct, frozen=True, eq=False):
    """How a sample is carried.

    Attributes:
        priority: what goes first when not everything can go.
        timeout: seconds from the call after which the sample is cancelled and fails with `DeadlineExceededError`;
            None leaves it to the other limits.
        retries: how often a request that failed for a passing reason is repeated before the sample fails with that
            reason; None repeats until a limit ends it. Throttling is not counted.
        room: shared by the samples of a view, or None.
        tags: the caller's own labels, shown in `progress()`.
        until_accepted: whether `timeout` ends with the server's acceptance. What caused the last failure is the error
            then, and time in which the process stood still is not counted.
    """

    priority: Priority = "rollout"
    timeout: float | None = None
    retries: int | None = None
    room: Room | None = None
    tags: tuple[str, ...] = ()
    until_accepted: bool = False


DEFAULT_TERMS = Terms()
"""What a sampler that is no view carries its samples by."""
