"""Users of a session: models and samplers, which take their numbers from it and hear what becomes of it."""

from __future__ import annotations

from tinker_actors.actors.messages import DropSession, HoldSession, NumberTaken, ResumeSession, TakeNumber
from tinker_actors.actors.service import Service
from tinker_actors.actors.session.messages import Meet, Met
from tinker_actors.runtime.actor import Ref, tell

_SMALLEST_PRUNE = 64


class Users:
    """The users of one session. Part of its actor; used where that runs.

    Args:
        service: what the session belongs to.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._link = service.link
        self._counters = {"model": 0, "sampler": 0}
        self._waiting: list[TakeNumber | Meet] = []
        self._refs: set[Ref] = set()
        self._prune_at = _SMALLEST_PRUNE

    def asked(self, asked: TakeNumber | Meet) -> None:
        """Answer somebody, or have him wait while there is no session yet, or a lost one."""
        state, error, session_id = self._link.state, self._link.error, self._service.session_id
        if state == "ended" and error is not None:
            tell(asked.reply_to, DropSession(self._link, error.replica()))
        elif state != "open" or session_id is None:
            self._waiting.append(asked)
        elif isinstance(asked, Meet):
            self._remember(asked.reply_to)
            tell(asked.reply_to, Met(self._service.server))
        else:
            number = self._counters[asked.counter]
            self._counters[asked.counter] += 1
            self._remember(asked.reply_to)
            tell(asked.reply_to, NumberTaken(session_id, number, self._service.server, asked.why))

    def answer_waiting(self) -> None:
        """Answer those who wait: the state has changed."""
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            self.asked(each)

    def hold(self) -> None:
        """Tell them that the session is lost and may be well again."""
        assert self._link.error is not None
        for ref in self._refs:
            tell(ref, HoldSession(self._link, self._link.error))

    def resume(self) -> None:
        """Tell them that it is well again."""
        self.answer_waiting()
        for ref in self._refs:
            tell(ref, ResumeSession(self._link))

    def drop(self) -> None:
        """Tell them that it has ended."""
        self.answer_waiting()
        refs, self._refs = self._refs, set()
        for ref in refs:
            assert self._link.error is not None
            tell(ref, DropSession(self._link, self._link.error.replica()))

    def _remember(self, ref: Ref) -> None:
        """Note whom to tell; forget the dead whenever the set has doubled."""
        self._refs.add(ref)
        if len(self._refs) > self._prune_at:
            self._refs = {user for user in self._refs if user.is_alive()}
            self._prune_at = max(_SMALLEST_PRUNE, 2 * len(self._refs))
