"""Faults: what goes wrong with a request, drawn from a seed. Decides only; the stub carries it out."""

from __future__ import annotations

import random

FAULTS: dict[str, tuple[str, ...]] = {
    "asample": ("unavailable", "drop unheard", "drop", "cut", "throttle", "slow"),
    "retrieve_future": ("unavailable", "drop unheard", "drop", "cut", "gone", "slow"),
    "retrieve_futures": ("unavailable", "drop unheard", "drop", "cut", "slow"),
}
"""What may go wrong with each kind of request. "drop unheard" closes the connection before the request is looked at,
"drop" after it was carried out; "gone" makes the server forget the future."""


class Faults:
    """Draws faults.

    Args:
        share: of the requests, that something goes wrong with: 0 to 1.
        seed: of the draws.
    """

    def __init__(self, share: float, seed: int) -> None:
        self._share = share
        self._random = random.Random(seed)

    def draw(self, name: str) -> str | None:
        """Return what goes wrong with a request to the endpoint `name`, or None."""
        kinds = FAULTS.get(name)
        if kinds is None or self._random.random() >= self._share:
            return None
        return self._random.choice(kinds)
