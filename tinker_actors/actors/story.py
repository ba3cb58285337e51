"""Story: what the log says of a service, in few lines, whatever the length of the run.

What begins is told when it has lasted for a while, or when there is more to tell of it: a script that is over after two
seconds says one line of its session and not three.
"""

from __future__ import annotations

import logging

from tinker_actors.protocol.limits.remarks import LONG
from tinker_actors.runtime.actor import Executor, logger
from tinker_actors.runtime.threads import log_safely
from tinker_actors.runtime.timers import Timer
from tinker_actors.secrets import without_secrets
from tinker_actors.types.wire import CreateSessionResponse

_WARN_AFTER_SILENCE = 120.0  # seconds
_OPEN = "Session %s is open at %s"


class Story:
    """Tells what becomes of one service. Used by its actors, which share a thread.

    Args:
        base_url: of the server.
        executor: what runs the actors.
    """

    def __init__(self, base_url: str | None, executor: Executor) -> None:
        self._base_url = base_url
        self._executor = executor
        self._silent = self._lost = False
        self._began = 0.0
        # What has begun and was not told yet: texts with their arguments.
        self._held: list[tuple[str, tuple[object, ...]]] = []
        self._due: Timer | None = None

    def begins(self, text: str, *args: object) -> None:
        """Say at INFO that something is there: after a while, or before whatever is said next."""
        self._held.append((text, args))
        if self._due is None:
            self._due = self._executor.timers.call_at(self._executor.clock.now() + LONG, self._tell_held)

    def says(self, level: int, text: str, *args: object) -> None:
        """Say something, behind what has begun."""
        self._tell_held()
        log_safely(logger, level, text, *args)

    def _tell_held(self) -> None:
        held, self._held = self._held, []
        if self._due is not None:
            self._due.cancel()
            self._due = None
        for text, args in held:
            log_safely(logger, logging.INFO, text, *args)

    # ------------------------------------------------------------ of the session

    def opened(self, created: CreateSessionResponse) -> None:
        """Say that it is open, and what the server has to say to that."""
        self._began = self._executor.clock.now()
        self.begins(_OPEN, created.session_id, self._base_url)
        for level, text in (
            (logging.INFO, created.info_message),
            (logging.WARNING, created.warning_message),
            (logging.ERROR, created.error_message),
        ):
            if text:
                self.says(level, "The server says: %s", without_secrets(text))

    def silent(self, session_id: str | None, seconds: float) -> None:
        """Say, once, that heartbeats stay unanswered for long."""
        if seconds > _WARN_AFTER_SILENCE and not self._silent:
            self._silent = True
            self.says(logging.WARNING, "No heartbeat of session %s is answered for %.0f s", session_id, seconds)

    def heard(self, session_id: str | None) -> None:
        """Say that they are answered again, if somebody was told that they were not."""
        if self._silent:
            self._silent = False
            self.says(logging.INFO, "Heartbeats of session %s are answered again", session_id)

    def lost(self, session_id: str | None, why: str) -> None:
        """Say that the server does not know it any more."""
        self._lost = True
        self.says(logging.ERROR, "Session %s is lost: %s", session_id, why)

    def found(self, session_id: str | None, seconds: float) -> None:
        """Say that the server knows it again."""
        self._lost = False
        self.says(logging.INFO, "Session %s is well again, after %.0f s", session_id, seconds)

    def ended(self, session_id: str | None) -> None:
        """Say that it has ended as it should; in the same line that it was there, if that was not said."""
        told = [each for each in self._held if each[0] != _OPEN]
        short, self._held = len(told) < len(self._held), told
        if session_id is None or self._lost:
            self._tell_held()
        elif short:
            seconds = self._executor.clock.now() - self._began
            self.says(logging.INFO, "Session %s at %s has ended, after %.1f s", session_id, self._base_url, seconds)
        else:
            self.says(logging.INFO, "Session %s has ended", session_id)
