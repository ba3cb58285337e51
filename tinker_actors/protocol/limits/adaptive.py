"""The adaptive limit: how many samples the server takes at a time, found out from what it refuses.

A server with a capacity answers 429 above it and says nothing about it below. So the limit is searched for:

    searching   no refusal yet: what is offered grows by an eighth with each round trip, so that a server without a
                limit is filled within milliseconds and one with a limit refuses some requests and not thousands.
    holding     a refusal came: the limit is what the server demonstrably held then. One more is tried now and then,
                more and more rarely while it goes on to be refused, and never when refusals were frequent.
    rising      one more was taken: the next tries are 2, 4, 8 more, until the next refusal.
    returning   it refused although nothing of ours was there, which tells nothing of how many it takes: when it takes
                one again, each request taken adds one, up to where the limit was before.

The shape is that of TCP's congestion control (slow start, one event per burst, and CUBIC's memory of the last
ceiling, RFC 9438). Plain numbers for the one thread that owns them; time is an argument.
"""

from __future__ import annotations

from typing import Literal

# What is offered at first. Every request that is taken adds one, and every eighth another one: what is on its way grows
# by an eighth with each round trip, and a refusal finds no more than that too many.
_FIRST = 16
_SHARE = 8
# Requests taken at the ceiling before one more is tried, at first and at most.
_RARELY, _MOST_RARELY = 16, 384
# Each request taken pays for a seventieth of a refusal. Without credit nothing is tried; a debt is forgiven below this.
_CREDIT, _MOST_CREDIT, _MOST_DEBT = 1 / 70, 2.0, -4.0
# One refusal alone may have come by chance and is no event; a second within so many requests taken is.
_ALONE = 25
# A refusal that takes no more than this share off the limit confirms it.
_NEAR_SHARE = 8
# What is left of the limit when a cut did not help, and when the server says that it paused what it has.
_AGAIN_LEFT, _PAUSED_LEFT = 0.85, 0.8
_PAUSE_CUTS_APART = 1.0  # seconds
# So many events in a row, without a request taken between them, are more than a limit can mend.
_MOST_EVENTS = 12
_UNKNOWN = 1 << 60
# Less urgent work leaves this share of the limit free while there is urgent work.
_FREE_SHARE = 4

Advice = Literal["resend", "pause"]


class AdaptiveLimit:
    """How many requests may be at the server: being submitted, or accepted and unfinished.

    Attributes:
        limit: how many.
        known: whether a refusal has shown it; otherwise it is still being searched for.
        submitting: requests without an answer.
        held: accepted and unfinished.
    """

    __slots__ = (
        "_credit",
        "_cut_at",
        "_events",
        "_fast_below",
        "_paused_at",
        "_rarely",
        "_refusals",
        "_returning",
        "_sent",
        "_step",
        "_stood",
        "_taken",
        "_untried",
        "held",
        "known",
        "limit",
        "submitting",
    )  # fmt: skip

    def __init__(self) -> None:
        self.limit = _FIRST
        self.known = False
        self.submitting = 0
        self.held = 0
        self._sent = 0  # the number of the last request sent
        self._cut_at = 0  # the number of the last request sent before the last cut
        self._events = 0  # refusals in a row that were events
        self._taken = 0  # requests taken since the limit was last changed or tried
        self._untried = 0  # requests taken since more was tried
        self._rarely = _RARELY
        self._credit = 0.0
        self._refusals = 0.0  # in the recent past: each counts for less with every request taken
        self._step = 0  # by how much the limit was raised and not yet reached; 0 when it stands
        self._stood = _UNKNOWN  # the limit before the first of these refusals in a row
        # Up to here every request taken raises the limit: what was cut because the server paused, which a refusal by
        # chance does not take back, and what was cut because it took nothing.
        self._fast_below = self._returning = 0
        self._paused_at = float("-inf")

    def allows(self, *, leave_free: bool = False) -> bool:
        """Return whether one more request may be sent.

        Args:
            leave_free: keep a quarter of a known limit free for others.
        """
        limit = self.limit
        if leave_free and self.known:
            limit -= limit // _FREE_SHARE
        return self.submitting + self.held < limit

    def try_more(self) -> bool:
        """Raise a known limit by one, if it is time. To be called now and then while more is waiting than may go.

        Not with every acceptance: a server that limits the rate refuses what comes right behind a burst.
        """
        if not self.known or self._step:
            return False
        # Now and then in spite of refusals: a server may refuse at random, whatever it has room for.
        if self._untried < _MOST_RARELY and (self._taken < self._rarely or self._credit < 0):
            return False
        self._step = 1
        self._taken = self._untried = 0
        self.limit += 1
        return True

    # ------------------------------------------------------------ what happens to requests

    def sent(self) -> int:
        """Count a request out; return its number, to be given back with the answer."""
        self.submitting += 1
        self._sent += 1
        return self._sent

    def accepted(self, number: int) -> None:
        """Count a request as held by the server."""
        self.submitting -= 1
        self.held = held = self.held + 1
        self._taken += 1
        self._untried += 1
        if self._refusals:
            self._refusals = max(0.0, self._refusals - 1 / _ALONE)
        if self._credit < _MOST_CREDIT:
            self._credit += _CREDIT
        if not self.known or self.limit < self._fast_below or self.limit < self._returning:
            self._events = 0
            if held + self.submitting >= self.limit - self.limit // _SHARE:  # otherwise nobody asks for more
                self.limit += 1 + (self._taken % _SHARE == 0)
        elif number <= self._cut_at:
            # Of the burst that ended in a refusal: the server had taken it, so it holds as many as that.
            self.limit = max(self.limit, held)
        else:
            self._events = 0
            if self._step and held >= self.limit:
                # All that was tried is held: try more. No more than an eighth, for the same reason as at first.
                self._step = min(2 * self._step, max(1, self.limit // _SHARE))
                self.limit += self._step
                self._taken = 0

    def refused(self, number: int) -> Advice:
        """Count a request that got a 429 out.

        Returns:
            `"resend"`: the next end of one of ours makes room for it. `"pause"`: nothing of ours is there that could
            end, or cutting has not helped; only time can.
        """
        self.submitting -= 1
        self._credit = max(self._credit - 1.0, _MOST_DEBT)
        there = self.held + self.submitting
        self._refusals = min(self._refusals + 1.0, 2.0)
        if there == 0 or (number > self._cut_at and self._refusals > 1.0):
            self._cut_at = self._sent
            if not self._events:
                self._stood = self.limit if self.known else _UNKNOWN
            self._events += 1
            self._cut()
            self._returning = min(self._returning, self.limit) if there else max(self._returning, self._stood)
            if self._events > _MOST_EVENTS:
                self._events = 0
                return "pause"
        return "resend" if there else "pause"

    def _cut(self) -> None:
        """Set the limit to what the server holds; one cut for all requests that were on their way together.

        Not to less than half at once: what is held is little, too, where a refusal came by chance.
        """
        held = self.held
        new = max(1, self.limit // 2, held) if self._events <= 1 else max(1, int(held * _AGAIN_LEFT))
        stood = self.limit - self._step
        if self.known and new >= stood - stood // _NEAR_SHARE:
            self._rarely = min(2 * self._rarely, _MOST_RARELY)
        else:
            self._rarely = _RARELY
        self.limit = new
        self.known = True
        self._taken = self._step = 0

    def lost(self) -> None:
        """Count out a request of which no answer tells whether it was taken, or that was refused for itself."""
        self.submitting -= 1

    def adopted(self) -> None:
        """Count in what a lane before this one had submitted."""
        self.held += 1
        if not self.known:
            self.limit = max(self.limit, self.held)

    def ended(self) -> None:
        """Count out one that was held."""
        self.held -= 1

    def server_paused(self, now: float) -> None:
        """Learn that the server holds requests without working on them; at most one cut a second.

        Args:
            now: the time in seconds.
        """
        if now - self._paused_at < _PAUSE_CUTS_APART:
            return
        self._paused_at = now
        there = self.submitting + self.held
        before = self.limit if self.known else there
        self.limit = max(1, min(before, int(there * _PAUSED_LEFT)))
        self._fast_below = max(self._fast_below, before)
        self.known = True
        self._cut_at = self._sent
        self._taken = self._step = 0
