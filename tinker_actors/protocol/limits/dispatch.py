"""Dispatch: how much may be on its way to the server at once (wire protocol 7.5).

Plain integers for the one thread that owns them. Time is an argument.
"""

from __future__ import annotations

from tinker_actors.protocol.limits.rate_window import RateWindow

# Wire protocol 7.5: a throttled client counts bytes twenty-fold, and pauses 1 s or, above 128 KiB, 5 s.
_THROTTLED_BYTE_FACTOR = 20
_LARGE_REQUEST = 131_072
_SHORT_PAUSE = 1.0
_LONG_PAUSE = 5.0
# For this long after a pause ended the client still counts as throttled.
_RECENTLY = 10.0
# What less urgent requests leave to others: this share of the requests and of the bytes.
_FREE_SHARE = 4


class Dispatch:
    """Admission of requests to the wire.

    A request is admitted while the number being submitted is below its limit and the byte balance is not negative;
    the balance may become negative by the admission, so that a single oversized request always passes.

    Args:
        max_submits: requests being submitted at a time.
        throttled_submits: the same while throttled.
        max_bytes: estimated bytes being submitted at a time.
        window: for how long nothing is submitted after a refusal; shared by the lanes of a server.
    """

    __slots__ = ("_balance", "_free_bytes", "_max_submits", "_submits", "_throttled_submits", "window")

    def __init__(
        self, max_submits: int, throttled_submits: int, max_bytes: int, window: RateWindow | None = None
    ) -> None:
        self._max_submits = max_submits
        self._throttled_submits = throttled_submits
        self._balance = max_bytes
        self._free_bytes = max_bytes // _FREE_SHARE
        self._submits = 0
        self.window = window or RateWindow()

    @property
    def submits(self) -> int:
        """How many requests are being submitted."""
        return self._submits

    def may_send(self, now: float, *, leave_free: bool = False) -> bool:
        """Return whether another request may be submitted at `now`.

        Args:
            now: the time.
            leave_free: keep a quarter of the limits free for others.
        """
        until = self.window.until
        if now < until:
            return False
        # As `throttled` says, here and below without a call: they are asked for each sample.
        limit = self._throttled_submits if now < until + _RECENTLY else self._max_submits
        if leave_free:
            return self._submits < limit - limit // _FREE_SHARE and self._balance >= self._free_bytes
        return self._submits < limit and self._balance >= 0

    def throttled(self, now: float) -> bool:
        """Return whether a pause is in force or ended less than 10 s ago."""
        return now < self.window.until + _RECENTLY

    def sent(self, weight: int, now: float) -> int:
        """Count a request of `weight` estimated bytes in; return what `answered` has to be given back."""
        charge = weight * _THROTTLED_BYTE_FACTOR if now < self.window.until + _RECENTLY else weight
        self._submits += 1
        self._balance -= charge
        return charge

    def answered(self, charge: int) -> None:
        """Count a request out, whatever its answer was."""
        self._submits -= 1
        self._balance += charge

    def pause(self, weight: int, now: float, after: float | None) -> None:
        """Stop submitting after a 429 to a request of `weight` bytes.

        Args:
            weight: estimated bytes of the refused request.
            now: the time.
            after: what the server's Retry-After said, in seconds, or None.
        """
        wait = after if after is not None else (_SHORT_PAUSE if weight <= _LARGE_REQUEST else _LONG_PAUSE)
        self.window.refused(wait, now)
