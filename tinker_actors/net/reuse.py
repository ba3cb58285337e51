"""Whether a server's connections carry more than one request.

Servers close connections without saying so, and a request may meet that. Once is chance; where it happens again and
again, each request has a connection of its own, which costs less than sending everything twice. A server that sends
what nobody asked for has its connections never used again: the next answer on one could be another request's.
"""

from __future__ import annotations

_MOST_MET = 3
_FEW_ANSWERS = 2
_REST = 60.0


class Reuse:
    """Counts what speaks against sending a second request on a connection. For one thread, without a clock.

    What many requests meet at one moment is one event: of the connections that were open when one was met, no other
    counts.

    Attributes:
        trusted: whether the server sent nothing unrequested so far.
        allowed: whether a connection may be used again.
        era: how many events were counted; a connection belongs to the one in which it was opened.
    """

    __slots__ = ("_again", "_met", "allowed", "era", "trusted")

    def __init__(self) -> None:
        self.trusted = True
        self.allowed = True
        self.era = 0
        self._met = 0
        self._again: float | None = None

    def met_close(self, era: int, answers: int, now: float) -> None:
        """Learn that a request met the end of a connection that had carried others.

        Args:
            era: that in which the connection was opened.
            answers: how many it had carried. A server that lets many pass does keep connections.
            now: monotonic time in seconds.
        """
        if era != self.era or not self.allowed:
            return
        self.era += 1
        self._met = self._met + 1 if answers <= _FEW_ANSWERS else 0
        if self._met >= _MOST_MET:
            self._rest(now)

    def mixed_up(self, now: float) -> None:
        """Learn that an answer came that can't be its request's: it may be another's, and more of them be under way."""
        if self.trusted:
            self._rest(now)

    def _rest(self, now: float) -> None:
        self.allowed = False
        self._again = now + _REST

    def unrequested(self) -> None:
        """Learn that the server sent what nobody asked for."""
        self.trusted = self.allowed = False
        self._again = None

    def look(self, now: float) -> None:
        """Allow it for another try when the time for that has come; the first request that meets a close ends it."""
        if self._again is not None and now >= self._again:
            self._again = None
            self.allowed = True
            self._met = _MOST_MET - 1
