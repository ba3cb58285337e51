"""The life of a session: whether what belongs to it goes, is held, or fails.

    not there yet           there             not there any more        over
    what needs it waits     all goes          all is held               all fails

                               ┌─── well again ───┐
                               ▼                  │
      opening ──────────────► open ────────────► lost ───┐
         │                     │                         │ given up
         └─────────────────────┴─────────────────────────┴────────────► ended
              it can't be opened, or the service ends

A session is lost when the server says that it does not know it, or does not answer for long. Servers err, and so do
the proxies before them, so a session that is lost may be well again: its next heartbeat is answered. Then what belongs
to it goes on. For how long that is waited for is the `LossPolicy`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from tinker_actors.errors import TinkerError

SessionState = Literal["opening", "open", "lost", "ended"]
"""What is known of a session:

- `opening`: the server was not asked for it, or has not answered.
- `open`: it is there.
- `lost`: the server does not know it, or is silent; it may be well again.
- `ended`: nothing can belong to it any more.
"""

TRANSITIONS: dict[SessionState, frozenset[SessionState]] = {
    "opening": frozenset({"open", "ended"}),
    "open": frozenset({"lost", "ended"}),
    "lost": frozenset({"open", "ended"}),
    "ended": frozenset(),
}
"""What may follow each state."""


class SessionLife:
    """The state of one session. Written by its actor; read from any thread, where a reading may be a moment old.

    Attributes:
        state: what is known of it.
        error: why it is lost or has ended; None before.
    """

    __slots__ = ("error", "state")

    def __init__(self) -> None:
        self.state: SessionState = "opening"
        self.error: TinkerError | None = None

    def enter(self, state: SessionState, error: TinkerError | None = None) -> None:
        """Change the state.

        Args:
            state: what is known now.
            error: why, for `lost` and `ended`.

        Raises:
            ValueError: the table does not have it.
        """
        if state not in TRANSITIONS[self.state] or (error is None) != (state == "open"):
            raise ValueError(f"A session that is {self.state} can't become {state} ({error!r}).")
        # Whoever finds an error asks for the state, and must not find that of before.
        if error is None:
            self.error, self.state = error, state
        else:
            self.state, self.error = state, error


class LossPolicy(msgspec.Struct, frozen=True):
    """What the loss of a session leads to.

    Attributes:
        patience: seconds for which what belongs to it is held, and it is asked whether it is well again. Then it is
            given up.
    """

    patience: float = 0.0

    def holds(self, seconds: float) -> bool:
        """Return whether to go on waiting for a session that has been lost for so many seconds."""
        return seconds < self.patience


NO_RECOVERY = LossPolicy()
"""A session that is lost is given up at once."""
