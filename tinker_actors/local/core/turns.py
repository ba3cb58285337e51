"""Turns: which model's operation is done next.

A model's operations are done one at a time and in order; models with something to do take turns, so that a client that
has queued a thousand steps does not keep another one from its first.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinker_actors.local.core.models import Model


class Turns:
    """Models with something to do, in the order of their turns."""

    def __init__(self) -> None:
        self._waiting: deque[Model] = deque()

    def offer(self, model: Model) -> None:
        """Give a model a turn, if it has something to do and does not wait for one already."""
        if model.idle and model.sequencer.ready and not model.has_turn:
            model.has_turn = True
            self._waiting.append(model)

    def take(self) -> Model | None:
        """Take the model whose turn it is, or None."""
        if not self._waiting:
            return None
        model = self._waiting.popleft()
        model.has_turn = False
        return model
