"""Turns: which model's operation is done next.

A model's operations are done one at a time and in order. Owners with something to do take turns, and so do the models
of each: a client that has queued a thousand steps, or steps of a hundred models, keeps no other from its first.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinker_actors.local.core.models.model import Model


class Turns:
    """Models with something to do, by owner, in the order of their turns."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Model]] = {}  # in the order of the owners' turns; none without models

    def offer(self, model: Model) -> None:
        """Give a model a turn, if it has something to do and does not wait for one already."""
        if model.idle and model.sequencer.ready and not model.has_turn:
            model.has_turn = True
            self._waiting.setdefault(model.owner, deque()).append(model)

    def take(self) -> Model | None:
        """Take the model whose turn it is, or None."""
        if not self._waiting:
            return None
        owner = next(iter(self._waiting))
        models = self._waiting.pop(owner)
        model = models.popleft()
        if models:
            self._waiting[owner] = models  # behind the others
        model.has_turn = False
        return model
