"""A thread for one actor whose inbox also watches sockets and timers."""

from __future__ import annotations

import sys

from tinker_actors.runtime.actor import RuntimeActor
from tinker_actors.runtime.clock import Clock
from tinker_actors.runtime.outcome import hold_nothing_back
from tinker_actors.runtime.pykka_internals import Inbox
from tinker_actors.runtime.selector_inbox import SelectorInbox
from tinker_actors.runtime.threads import let_others_finish, start_thread


class LaneThread:
    """An executor that runs exactly one actor, on a thread of its own.

    Args:
        name: the thread's name.
        inbox: where messages, socket readiness and timers meet.
        clock: the clock of its timers.
        polite: a lane that is woken thousands of times a second, by those who go on at once; see `let_others_finish`.
    """

    def __init__(self, name: str, inbox: SelectorInbox, clock: Clock, *, polite: bool = False) -> None:
        self.clock = clock
        self.timers = inbox.timers
        self._name = name
        self._inbox = inbox
        self._polite = polite

    def inbox_for(self, actor: RuntimeActor) -> Inbox:  # noqa: ARG002 - there is only one actor
        """Return the selector inbox."""
        return self._inbox

    def run(self, actor: RuntimeActor) -> None:
        """Start the thread.

        Raises:
            RuntimeError: the system has none left; the inbox is closed then.
        """
        try:
            start_thread(self._name, lambda: self._loop(actor))
        except RuntimeError:
            self._inbox.close()
            raise

    def _loop(self, actor: RuntimeActor) -> None:
        inbox = self._inbox
        if self._polite:
            let_others_finish()
        try:
            actor.begin()
            while not actor.actor_stopped.is_set():
                actor.process(inbox.get())
            actor.halt()  # if it has not ended: declared stopped from outside while it was stuck
        except BaseException:  # thrown at the thread
            actor._crash(*sys.exc_info())
        hold_nothing_back()  # if that was thrown in the middle of a round
        inbox.close()
        inbox.retire(actor.process)  # which refuses: the actor has stopped
