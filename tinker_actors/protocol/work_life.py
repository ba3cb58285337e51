"""The life of a work: where an operation stands on its way through a lane, and what may follow.

    called          here                               sent              at the server             over

                 ┌► outside ──┐
                 │     │      ▼
      new ───────┼─────┼──► parked ──┐
       ▲ │       │     ▼             ▼
       │ └───────┴──────────────► queued ◄──────┐
       │                           │ ▲ │        │ refused (429): its turn again
       │                           │ │ └──► submitting ───┬──────► polling ◄──► turn
       │             a token first │ │          │         │           │          │
       │                           ▼ │          │ lost    │           │          │
       │                         waiting ◄──────┘         └────► suspect ◄───────┘      all ──► done
       │                           ▲                                │
       └─ a new lane begins anew   └────── forgotten, and renewed ──┘
                                           (from `polling` and `turn` too: its id was given to another)

      all that are sent or could be ──► held ──► turn, when its session is well again and the server had accepted it;
                        (its session is lost)    else new

A lane changes states on its own thread only. `TRANSITIONS` is the same as a table, and `FLAGS` says what else is noted
of a work and while what: neither is looked at in production, where a work changes its state some four times for each of
thousands of samples a second. The tests look at every change that any of them causes.
"""

from __future__ import annotations

from typing import Literal

State = Literal[
    "new", "outside", "parked", "queued", "submitting", "waiting", "polling", "turn", "suspect", "held", "done"
]  # fmt: skip
"""Where a work stands:

- `new`: called, and not looked at; or to be begun anew, by another lane or because the server forgot it.
- `outside`: its view has as many under way as it may have (`max_in_flight`).
- `parked`: its sampler is not there yet, or there is no room in memory.
- `queued`: its turn to be sent has not come.
- `submitting`: sent; the server has not answered.
- `waiting`: to be sent again, after a pause or with a token.
- `polling`: accepted; its result is asked for, heard of, or fetched.
- `turn`: accepted; there is no connection to ask with.
- `suspect`: a 404 or 410 was answered; the session is asked whether it is still there.
- `held`: its session is lost and may be well again: it is neither sent nor asked for.
- `done`: over.
"""

TRANSITIONS: dict[State, frozenset[State]] = {
    "new": frozenset({"new", "outside", "parked", "queued", "waiting", "held", "done"}),
    "outside": frozenset({"parked", "queued", "new", "held", "done"}),
    "parked": frozenset({"parked", "queued", "new", "held", "done"}),
    "queued": frozenset({"submitting", "waiting", "new", "held", "done"}),
    "submitting": frozenset({"polling", "queued", "waiting", "suspect", "new", "held", "done"}),
    "waiting": frozenset({"queued", "new", "held", "done"}),
    "polling": frozenset({"polling", "turn", "suspect", "new", "held", "done"}),
    "turn": frozenset({"polling", "turn", "new", "held", "done"}),
    "suspect": frozenset({"suspect", "new", "polling", "turn", "held", "done"}),
    "held": frozenset({"held", "new", "turn", "done"}),
    "done": frozenset(),
}
"""What may follow each state."""

WAITING_HERE: frozenset[State] = frozenset({"queued", "turn"})
"""States in which a work waits for its turn here: the server owes no sign of it, and when it ends the wait is taken off
its silence."""

NO_SIGN_OWED: frozenset[State] = frozenset({"suspect", "held"})
"""States in which its silence is not the server's: the clock of its liveness stands still."""

ACCEPTED: frozenset[State] = frozenset({"polling", "turn", "suspect"})
"""States in which the server has accepted the work, or had."""

FLAGS: dict[str, frozenset[State]] = {
    # It holds a place in its view's room: from the moment that it is let in to its end.
    "roomed": frozenset(TRANSITIONS) - {"outside", "done"},
    # It counts as accepted and unfinished for the adaptive limit.
    "at_server": ACCEPTED,  # set just before the first of them, and taken back just before what is next
    # The server said that it is over, which it says once.
    "told": ACCEPTED | {"held", "done"},
    # The answer to a submission was lost, so that the server may have accepted it.
    "in_doubt": frozenset(TRANSITIONS) - {"outside", "parked"},
    # The server keeps it waiting on purpose.
    "paused": ACCEPTED | {"done"},
}
"""The states in which a flag of a work may be set."""


class IllegalTransitionError(AssertionError):
    """A work was put into a state that does not follow from the one before, or with a flag that it can't have."""


def check(before: State, after: State, flags: frozenset[str] = frozenset()) -> None:
    """Check a change.

    Args:
        before: the state it was in.
        after: the state it is put into.
        flags: those that are set.

    Raises:
        IllegalTransitionError: the tables do not have it.
    """
    if after not in TRANSITIONS[before]:
        raise IllegalTransitionError(f"{before} can't be followed by {after}")
    for flag in flags:
        if after not in FLAGS[flag]:
            raise IllegalTransitionError(f"{after} can't be {flag}")
