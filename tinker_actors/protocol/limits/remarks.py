"""Remarks: what is said at INFO and WARNING of what goes on for long: few lines, whatever the length of the run.

what                                       line
-----------------------------------------  -------------------------------------------------------------------
request after request failed for `LONG`    WARNING, once: the server does not answer, and why
since then something succeeded             INFO: it answers again, and after how long
the server kept operations waiting         INFO, once: it does, and why
for `LONG` it did not do that any more     INFO: it went on, and for how long it had not
    what happens again and again               INFO the first time, then once an hour with the number of others
samples wait for weights for `LONG`        WARNING, once until none waits any more, and once an hour at most
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

LONG = 10.0
"""Seconds for which a state has to last before it is one: less than that a retry sees to."""

OFTEN = 3600.0
"""Seconds between two lines about what happens again and again."""


class Remark(NamedTuple):
    """A line for the log.

    Attributes:
        level: how serious it is.
        text: what it says, without saying of which server.
    """

    level: Literal["info", "warning"]
    text: str


class Outages:
    """Decides what is said of a server. Asked every few seconds; not for several threads at once."""

    def __init__(self) -> None:
        self._trouble: float | None = None  # since when
        self._paused: float | None = None
        self._told_trouble = self._told_pause = False

    def look(self, now: float, trouble: str, pause: tuple[float, str] | None) -> list[Remark]:
        """Return what is new.

        Args:
            now: the time, in seconds.
            trouble: why the server does not answer; empty while it does.
            pause: when it said last that it keeps operations waiting on purpose, and why; None if it never did.
        """
        return [*self._look_at_trouble(now, trouble), *self._look_at_pause(now, pause)]

    def _look_at_trouble(self, now: float, trouble: str) -> list[Remark]:
        since = self._trouble
        if not trouble:
            told, self._trouble, self._told_trouble = self._told_trouble, None, False
            return [Remark("info", f"answers again, after {now - (since or now):.0f} s")] if told else []
        if since is None:
            self._trouble = now
        elif now - since >= LONG and not self._told_trouble:
            self._told_trouble = True
            return [Remark("warning", f"does not answer; what is under way waits for it: {trouble}")]
        return []

    def _look_at_pause(self, now: float, pause: tuple[float, str] | None) -> list[Remark]:
        if pause is None:
            return []
        last, why = pause
        if now - last >= LONG:
            told, since, self._told_pause, self._paused = self._told_pause, self._paused, False, None
            return [Remark("info", f"goes on, after a pause of {last - (since or last):.0f} s")] if told else []
        if self._paused is None:
            self._paused = last
        if self._told_pause:
            return []
        self._told_pause = True
        return [Remark("info", f"keeps operations waiting: {why}" if why else "keeps operations waiting")]


_ABOUT_WEIGHTS = {
    "waiting for publish()": "for the first weights of their policy, which nobody has published: call publish()",
    "waiting for newer weights": (
        "for newer weights of their policy than are published, as max_lag wants it: call publish() more often, or "
        "allow more lag"
    ),
}
WAITING_FOR_WEIGHTS = frozenset(_ABOUT_WEIGHTS)
"""Reasons to wait that only the user's own program can end."""


class Waiting:
    """Decides what is said of samples that wait for weights. Asked every few seconds; not for several threads."""

    def __init__(self) -> None:
        self._told = False
        self._rarely = Rarely()

    def look(self, now: float, waiting: Sequence[tuple[str, float]]) -> list[Remark]:
        """Return what is new.

        Args:
            now: the time, in seconds.
            waiting: for each sample that waits for weights the reason, one of `WAITING_FOR_WEIGHTS`, and since when.
        """
        if not waiting:
            self._told = False
            return []
        reason, since = min(waiting, key=lambda each: each[1])
        if self._told or now - since < LONG:
            return []
        self._told = True
        if self._rarely.left_out(now) is None:
            return []
        many = "1 sample waits" if len(waiting) == 1 else f"{len(waiting)} samples wait"
        return [Remark("warning", f"{many}, one of them for {now - since:.0f} s, {_ABOUT_WEIGHTS[reason]}")]


class Rarely:
    """Decides whether something that happens again and again is said, and how many times it was not."""

    def __init__(self) -> None:
        self._last = float("-inf")
        self._left_out = 0

    def left_out(self, now: float) -> int | None:
        """Return how many times nothing was said since the last line, if it is time for one; else None."""
        if now - self._last < OFTEN:
            self._left_out += 1
            return None
        self._last = now
        left_out, self._left_out = self._left_out, 0
        return left_out
