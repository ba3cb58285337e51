"""Holding: what a lane keeps aside because its session is lost and may be well again.

What is held is neither sent nor asked for, and takes up no place. Its deadline runs on and it may be cancelled, but the
server owes no sign of it. When the session is well again, what the server had accepted is asked for and everything else
is sent again, unchanged, in the old order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinker_actors.actors.lane.submitting import not_again
from tinker_actors.actors.lane.work import Call, SessionLink, Work
from tinker_actors.actors.messages import DropSession, HoldSession, ResumeSession
from tinker_actors.errors import TinkerError, fresh

if TYPE_CHECKING:
    from tinker_actors.actors.lane.plain_requests import Calling
    from tinker_actors.actors.lane.table import Desk


class Holding:
    """The holding hand of a lane; used on its thread only. What it holds is in the table, for a successor to find."""

    def __init__(self, desk: Desk, calling: Calling) -> None:
        self._desk = desk
        self._calling = calling

    def hear(self, message: HoldSession | ResumeSession | DropSession) -> None:
        """Do with what belongs to a session as the session says."""
        if isinstance(message, HoldSession):
            self._hold_session(message.session)
        elif isinstance(message, ResumeSession):
            self._resume_session(message.session)
        else:
            self._drop_session(message.session, message.error)

    def stops(self, item: Work | Call) -> bool:
        """Hold or fail an item whose session has an error; return False when it has none any more."""
        session = item.session
        assert session is not None
        state, error = session.state, session.error
        if error is None or state not in ("lost", "ended"):
            return False  # it has become well again
        if state == "lost":
            self.hold(item)
        else:
            self._desk.fail(item, fresh(error))
        return True

    def _hold_session(self, session: SessionLink) -> None:
        """Hold what was begun of a session; what was not is held when it is looked at."""
        for item in self._begun(session):
            if not isinstance(item, Work) or item.state not in ("new", "outside", "parked"):
                self.hold(item)
        submitting, polling = self._desk.submitting, self._desk.polling
        submitting.line.sift(_is_queued)
        polling.turns.waiting.sift(_has_no_turn)
        polling.fetch_line.sift(_is_polled)

    def hold(self, item: Work | Call) -> None:
        """Hold an item, whatever is under way for it."""
        desk = self._desk
        if isinstance(item, Work) and item.state == "submitting":
            item.in_doubt = item.in_doubt or (item.ticket is not None and item.ticket.seen)
        desk.stop(item)
        if isinstance(item, Call):
            item.aside = "held"
            return
        assert item.session is not None
        error = item.session.error
        item.channel = None
        item.paused = False
        item.size = 0
        item.state = "held"
        item.tracker.enter("recovering", desk.now(), "" if error is None else error.message)

    def _resume_session(self, session: SessionLink) -> None:
        """Go on with what is held of a session."""
        now = self._desk.now()
        for item in self._begun(session):
            if isinstance(item, Call):
                if item.aside == "held":
                    item.aside = ""
                    self._calling.begin(item)
            elif item.state == "held":
                if item.request_id is not None:
                    self._desk.submitting.adopt(item)
                item.tracker.enter("queued here", now)
                self.begin_again(item, now)

    def _drop_session(self, session: SessionLink, error: TinkerError) -> None:
        """Fail what belongs to a session."""
        for item in list(self._desk.table.values()):
            if item.session is session:
                self._desk.fail(item, error.replica())

    def begin_again(self, work: Work, now: float) -> None:
        """Begin with a work where it stands: ask for what was accepted, send what was not."""
        if work.request_id is not None:
            # Its end may have been told already, and is not told twice.
            self._desk.polling.later(work, now)
        elif work.in_doubt and not work.resend:
            self._desk.fail(work, not_again(work, "its connection was given up."))
        else:
            work.state = "new"
            self._desk.submitting.take(work, now)

    def _begun(self, session: SessionLink) -> list[Work | Call]:
        """Return what this lane has begun of a session, in the order of coming."""
        return [item for item in self._desk.table.values() if item.session is session and item.holder is self._desk]


def _is_queued(work: Work) -> bool:
    return work.state == "queued"


def _has_no_turn(work: Work) -> bool:
    return work.state == "turn"


def _is_polled(work: Work) -> bool:
    return work.state == "polling"
