"""The retry budget: what a client sends to a server in trouble.

Failures are counted in rounds, by endpoint. What fails together was hit by one mishap: the next round begins when a
request fails that was sent after this one began. While requests succeed between the rounds, each is repeated after its
own backoff, and nothing else holds it up, however many fail. Only when round after round fails and nothing succeeds is
the endpoint *in trouble*. When that is so of all endpoints together, each at which anything failed is in trouble:

    in trouble   whatever is sent needs a token. One flows in every 1.2 s, for all endpoints in trouble together, and is
                 taken in turn; it is taken when the request goes, so that who waits owes nothing.
    a success    brings sixteen tokens to its endpoint, and with them the next requests: what waits comes back in
                 growing steps, not all at once. With enough of them in hand the trouble is over.

A request that servers hold until there is something to tell shows by its silence that it got through: after longer than
the slowest failure of this trouble took, it counts as a success.

The shape is that of a circuit breaker with a slow start behind it. Time is an argument, in seconds.
"""

from __future__ import annotations

import threading

PACE = 1.2
"""Seconds between two requests of a client to a server at which all fails. With heartbeats, below one a second."""

# So many failed in a row, with nothing that succeeded between them, are trouble. Where one request is under way at a
# time and each third fails by chance, that is seen once in some hundred; where hundreds are, it is a moment.
_ROUNDS = 5
_WORTH_TELLING = 2  # one is a passing mishap, and over before anybody looks
_GAIN = 16.0  # tokens that a success brings
_CALM = 64.0  # tokens in hand that end the trouble
# Another endpoint gets well so soon after the first one, at the earliest.
_NEXT_ENDPOINT = 0.1
# A held request is silent for so much longer than failures took before it counts.
_MARGIN = 0.25
# Who asked for a token and does not come back in time for it gives up his turn.
_GRACE = 0.5


class _Endpoint:
    """An endpoint whose last request failed, or that is in trouble."""

    __slots__ = ("began", "rounds", "slowest", "tokens", "troubled")

    def __init__(self) -> None:
        self.began = float("-inf")  # when the last round began
        self.rounds = 0
        self.slowest = 0.0  # seconds that the slowest failure took, of requests sent after the first round
        self.troubled = False
        self.tokens = 0.0


class RetryBudget:
    """Tells whether what failed may be sent again. Shared by all that use one server with one key; thread-safe.

    Attributes:
        failing: the endpoints of which the last request failed, by name. Empty while all is well, which can be read
            without the lock; not to be changed.
        trouble: the last failure, for people, while request after request fails and nothing succeeds; else empty.
    """

    __slots__ = ("_began", "_guard", "_last", "_next", "_rounds", "_turns", "failing", "trouble")

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self.failing: dict[str, _Endpoint] = {}
        self.trouble = ""
        self._began = float("-inf")  # when the last round of all endpoints together began
        self._rounds = 0  # of these, since anything succeeded
        self._last = self._next = float("-inf")  # the last token that time brought, and the next
        self._turns: dict[str, float] = {}  # who waits for such a token, in order, and when he is expected to ask again

    def failed(self, name: str, sent: float, now: float, why: str = "") -> None:
        """Note that a request failed for a reason that can pass.

        Args:
            name: its endpoint.
            sent: when it was sent.
            now: the time.
            why: what is said to those who ask what they wait for.
        """
        with self._guard:
            endpoint = self.failing.get(name)
            if endpoint is None:
                endpoint = self.failing[name] = _Endpoint()
            if sent >= self._began:
                self._began = now
                self._rounds += 1
            if self._rounds >= _ROUNDS:
                for each in self.failing.values():
                    each.troubled = True
            if sent < endpoint.began:
                return  # of the same round
            if endpoint.rounds:  # what the mishap met had been held for as long as it liked
                endpoint.slowest = max(endpoint.slowest, now - sent)
            endpoint.began = now
            endpoint.rounds += 1
            if endpoint.rounds >= _WORTH_TELLING:
                self.trouble = why
            if endpoint.rounds >= _ROUNDS:
                endpoint.troubled = True

    def succeeded(self, name: str, now: float) -> bool:
        """Note that a request succeeded, or was held for longer than `patience`.

        Returns:
            Whether something that waits may go now.
        """
        with self._guard:
            self.trouble = ""
            self._rounds = 0
            endpoint = self.failing.get(name)
            if endpoint is None:
                return False
            if not endpoint.troubled:
                del self.failing[name]
                return False
            endpoint.tokens += _GAIN
            if endpoint.tokens >= _CALM:
                del self.failing[name]
            # The others are likely to be well again, too: they need not wait for long.
            self._next = min(self._next, max(now, self._last + _NEXT_ENDPOINT))
            return True

    def troubled(self, name: str) -> bool:
        """Return whether a request to an endpoint needs a token. Lock-free."""
        endpoint = self.failing.get(name)
        return endpoint is not None and endpoint.troubled

    def patience(self, name: str) -> float:
        """Return after how many seconds of silence a request to an endpoint in trouble counts as a success."""
        endpoint = self.failing.get(name)
        return _MARGIN if endpoint is None else endpoint.slowest + _MARGIN

    def take(self, name: str, now: float) -> float:
        """Take a token for a request to an endpoint, if one is needed.

        Returns:
            0 when it may be sent; else after how many seconds to ask again.
        """
        with self._guard:
            endpoint = self.failing.get(name)
            if endpoint is None or not endpoint.troubled:
                self._turns.pop(name, None)
                return 0.0
            if endpoint.tokens >= 1.0:
                endpoint.tokens -= 1.0
                return 0.0
            self._turns[name] = now  # who is in it keeps his place
            for other in [other for other, expected in self._turns.items() if now > expected + _GRACE]:
                del self._turns[other]
            place = list(self._turns).index(name)
            if place == 0 and now >= self._next:
                del self._turns[name]
                self._last, self._next = now, now + PACE
                return 0.0
            wait = max(self._next - now, 0.0) + place * PACE
            self._turns[name] = now + wait
            return wait
