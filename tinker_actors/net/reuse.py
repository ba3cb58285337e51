"""Whether a server's connections carry more than one request.

Servers close connections without saying so, and a request may meet that. Now and then is chance, however many requests
there are: what counts is the share of reuses that meet a close. Where that is most of them, each request has a
connection of its own, which costs less than sending everything twice. A server that sends what nobody asked for has its
connections never used again: the next answer on one could be another request's.
"""

from __future__ import annotations

# A reuse that meets a close weighs as much as one that holds. So many more of the former are a rule: where every
# fifth meets one by chance, that comes once in some ten thousand.
_RULE = 6
# For so long, in seconds, connections are not reused then: at first, and at most while each new try meets a close.
_REST, _LONGEST_REST = 5.0, 60.0
# For so long after an answer that can't be its request's.
_REST_AFTER_MIX_UP = 60.0


class Reuse:
    """Weighs what speaks against sending a second request on a connection. For one thread, without a clock.

    What many requests meet at one moment is one event. So only those connections speak, for reuse or against it, that
    carried an answer since the last event: the server had them then. It is the owner who counts those that hold, since
    that is nearly all that ever happens; see `held`.

    Attributes:
        trusted: whether the server sent nothing unrequested so far.
        allowed: whether a connection may be used again.
        era: how many events were counted. A connection belongs to the one in which its last answer came.
        held: reuses that were answered since the last event, on connections that had been answered since, too.
    """

    __slots__ = ("_again", "_against", "_rest_next", "allowed", "era", "held", "trusted")

    def __init__(self) -> None:
        self.trusted = True
        self.allowed = True
        self.era = 0
        self.held = 0
        self._against = 0
        self._rest_next = _REST
        self._again: float | None = None

    def met_close(self, era: int, now: float) -> None:
        """Learn that a request met the end of a connection that had been kept.

        Args:
            era: that of the connection.
            now: monotonic time in seconds.
        """
        if era != self.era or not self.allowed:
            return
        held, self.held = self.held, 0
        if held > self._against:
            self._rest_next = _REST
        self._against = max(self._against - held, 0) + 1
        self.era += 1
        if self._against >= _RULE:
            self._rest(now, self._rest_next)
            self._rest_next = min(2 * self._rest_next, _LONGEST_REST)

    def mixed_up(self, now: float) -> None:
        """Learn that an answer came that can't be its request's: it may be another's, and more of them be under way."""
        if self.trusted:
            self._rest(now, _REST_AFTER_MIX_UP)

    def _rest(self, now: float, seconds: float) -> None:
        self.allowed = False
        self._again = now + seconds

    def unrequested(self) -> None:
        """Learn that the server sent what nobody asked for."""
        self.trusted = self.allowed = False
        self._again = None

    def look(self, now: float) -> None:
        """Allow it for another try when the time for that has come; if the next reuse meets a close, that ends it."""
        if self._again is not None and now >= self._again:
            self._again = None
            self.allowed = True
            self.held = 0
            self._against = _RULE - 1
