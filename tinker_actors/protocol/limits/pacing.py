"""Pacing: how soon the same thing is asked for again when the answer was "not yet".

A server is expected to hold such a request for a while. One that does is asked again at once, so that nothing is lost
where it works as it should. One that answers at once is asked more and more rarely, up to once a second: no server and
no proxy can make a client spin.
"""

from __future__ import annotations

HELD = 0.3
"""Seconds from asking to the answer from which on a request counts as held: three a second are bearable for ever."""

PAUSED_GAP = 1.0
"""Seconds between two questions while the server says that it keeps the operation waiting on purpose."""

_FIRST_GAP, _LONGEST_GAP = 0.1, 1.0
_LARGEST_EXPONENT = 10  # the longest gap is reached long before


def next_question(soon: int, held: float, *, paused: bool = False, after: float | None = None) -> tuple[float, int]:
    """Return after how many seconds to ask again, and how many answers in a row came too soon by now.

    Args:
        soon: how many answers in a row came too soon before this one.
        held: seconds from asking to this answer.
        paused: the server says that it keeps the operation waiting on purpose.
        after: seconds from the answer that the server asks to wait, or None. It is not asked sooner; if it wants to be
            asked more often than three times a second, it isn't.
    """
    if held >= HELD and not paused:
        return after or 0.0, 0 if held >= _LONGEST_GAP else soon
    gap = min(_LONGEST_GAP, _FIRST_GAP * 2.0 ** min(soon, _LARGEST_EXPONENT))
    if after is not None:
        gap = min(gap, HELD)
    elif paused:
        gap = PAUSED_GAP
    return max(after or 0.0, gap - held, 0.0), soon + 1


class Spacing:
    """Spaces questions that something outside asks for, like a heartbeat for each thing that the server denies.

    The first is asked at once. While they go on, the gap behind an answer grows like that of `next_question`.
    """

    __slots__ = ("_asked", "_next", "_soon")

    def __init__(self) -> None:
        self._asked = self._next = float("-inf")
        self._soon = 0

    def wait(self, now: float) -> float:
        """Return after how many seconds the next question may be asked; 0 for at once."""
        return max(self._next - now, 0.0)

    def asked(self, now: float) -> None:
        """Note that a question was asked."""
        self._asked = now

    def answered(self, now: float) -> None:
        """Note that it was answered."""
        soon = self._soon if now <= self._next + 2 * _LONGEST_GAP else 0
        gap, self._soon = next_question(soon, now - self._asked)
        self._next = now + gap

    def failed(self, now: float, gap: float) -> None:
        """Note that it was not answered; the next one is asked after `gap` seconds."""
        self._next = now + gap
