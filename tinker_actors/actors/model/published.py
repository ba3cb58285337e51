"""What a training actor lets others see without being asked."""

from __future__ import annotations

from tinker_actors.errors import TinkerError


class TrainingState:
    """Where the training of a model stands. Steps are counted by who calls them, the rest is written by its actor.

    Any thread may read it.

    Attributes:
        ended: why no operation will be sent any more, or None.
        policies: registry keys of the policies that publish these weights; any thread may add one.
    """

    __slots__ = ("_steps", "ended", "policies")

    def __init__(self) -> None:
        self._steps = bytearray()
        self.ended: TinkerError | None = None
        self.policies: set[int] = set()

    def count_step(self) -> None:
        """Note that an optimizer step was called."""
        self._steps.append(0)  # atomic, without a lock that a signal handler could find held by whom it interrupts

    @property
    def called(self) -> int:
        """How many optimizer steps were called so far, whatever becomes of them."""
        return len(self._steps)
