"""Story: what the log says of a session."""

from __future__ import annotations

import logging

from tinker_actors.runtime.actor import logger
from tinker_actors.runtime.threads import log_safely
from tinker_actors.secrets import without_secrets
from tinker_actors.types.wire import CreateSessionResponse

_WARN_AFTER_SILENCE = 120.0  # seconds


class Story:
    """Tells what becomes of one session, in few lines. Part of a session actor; used where it runs."""

    def __init__(self, base_url: str | None) -> None:
        self._base_url = base_url
        self._silent = self._lost = False

    def opened(self, created: CreateSessionResponse) -> None:
        """Say that it is open, and what the server has to say to that."""
        log_safely(logger, logging.INFO, "Session %s is open at %s", created.session_id, self._base_url)
        for level, text in (
            (logging.INFO, created.info_message),
            (logging.WARNING, created.warning_message),
            (logging.ERROR, created.error_message),
        ):
            if text:
                log_safely(logger, level, "The server says: %s", without_secrets(text))

    def silent(self, session_id: str | None, seconds: float) -> None:
        """Say, once, that heartbeats stay unanswered for long."""
        if seconds > _WARN_AFTER_SILENCE and not self._silent:
            self._silent = True
            log_safely(
                logger, logging.WARNING, "No heartbeat of session %s is answered for %.0f s", session_id, seconds
            )

    def heard(self, session_id: str | None) -> None:
        """Say that they are answered again, if somebody was told that they were not."""
        if self._silent:
            self._silent = False
            log_safely(logger, logging.INFO, "Heartbeats of session %s are answered again", session_id)

    def lost(self, session_id: str | None, why: str) -> None:
        """Say that the server does not know it any more."""
        self._lost = True
        log_safely(logger, logging.ERROR, "Session %s is lost: %s", session_id, why)

    def ended(self, session_id: str | None) -> None:
        """Say that it has ended as it should."""
        if session_id is not None and not self._lost:
            log_safely(logger, logging.INFO, "Session %s has ended", session_id)
