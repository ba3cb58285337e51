"""Connections on their way: what a transport has asked the connector for, and what becomes of it."""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable

from tinker_actors.net.connection_limit import ConnectionLimit
from tinker_actors.net.connector import Connector, Opening
from tinker_actors.net.target import Target
from tinker_actors.net.transport import Broken
from tinker_actors.runtime.selector_inbox import SelectorInbox


class Openings:
    """Connections that are being opened for one transport. Used from the lane's thread only.

    Args:
        target: where they go.
        connector: what opens them.
        inbox: the lane's inbox, through which the connector's news come.
        limit: whether there may be one more.
        on_outcome: takes each connected socket, or why there is none.

    Attributes:
        under_way: those that are being opened, in the order in which they were begun.
    """

    def __init__(
        self,
        target: Target,
        connector: Connector,
        inbox: SelectorInbox,
        limit: ConnectionLimit,
        on_outcome: Callable[[socket.socket | Broken | None], object],
    ) -> None:
        self._target = target
        self._connector = connector
        self._inbox = inbox
        self._limit = limit
        self._on_outcome = on_outcome
        self.under_way: dict[Opening, None] = {}  # an ordered set

    def __len__(self) -> int:
        return len(self.under_way)

    def begin(self, held: int) -> bool:
        """Begin with one more beside `held` open connections; return whether there may be one."""
        if not self._limit.allows(held + len(self.under_way)):
            return False
        self.under_way[self._connector.open(self._target, self._on_opened)] = None
        return True

    def withdraw(self, surplus: int) -> None:
        """Take back some nobody waits for, so that a server that is not there does not hold the threads."""
        for _ in range(surplus):
            newest, _ = self.under_way.popitem()
            if not self._connector.withdraw(newest):
                # It is under way, and so are the ones before it.
                self.under_way[newest] = None
                return
            self._limit.arrived()

    def close(self) -> None:
        """Give all of them up."""
        for opening in self.under_way:
            self._connector.abandon(opening)
            self._limit.arrived()
        self.under_way.clear()

    def _on_opened(self, opening: Opening) -> None:
        """Pass the news from the connector's thread to the lane's."""
        self._inbox.post(functools.partial(self._take, opening))

    def _take(self, opening: Opening) -> None:
        if self.under_way.pop(opening, self) is self:
            self._connector.abandon(opening)
            return
        self._limit.arrived()
        self._on_outcome(self._connector.take(opening))
