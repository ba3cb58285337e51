"""The session: opened on the server once, kept alive by heartbeats, declared lost when the server forgets it.

Everything else of a service hangs on it: models and samplers take their numbers from its counters, and a 404 or 410
anywhere is brought here as a suspicion, which the next heartbeat's answer decides. What a loss leads to is a rule
(`protocol/session_life.py`): the session is given up, or what belongs to it is held while heartbeats ask for it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tinker_actors.actors.ask import ask
from tinker_actors.actors.messages import (
    CallFailed,
    DropSession,
    HoldSession,
    Replied,
    ResumeSession,
    Shutdown,
    Suspicion,
    TakeNumber,
    Verdict,
)
from tinker_actors.actors.platform import PROTOCOL_VERSION
from tinker_actors.actors.service import Service
from tinker_actors.actors.session.messages import FinishSession, Meet, SessionSettings
from tinker_actors.actors.session.users import Users
from tinker_actors.errors import SessionLostError, TinkerError
from tinker_actors.events.records import SessionCreated, SessionLost
from tinker_actors.protocol.limits.pacing import Spacing
from tinker_actors.protocol.limits.rounds import Rounds
from tinker_actors.protocol.replies.plain import client_config_response
from tinker_actors.runtime.actor import RuntimeActor, logger, tell
from tinker_actors.types.wire import (
    ClientConfigRequest,
    ClientConfigResponse,
    CreateSessionRequest,
    CreateSessionResponse,
    FinishReason,
    FinishSessionRequest,
    SessionHeartbeatRequest,
)

_GONE = (404, 410)
_NOT_FOUND = 404
# Wire protocol 7.7: silence is worth a warning after this long.
# Telling the server that we are done is tried for so long even where no time is left.
_FIRST_ATTEMPT = 1.0
_SOONEST = 0.01  # seconds until the next look: clocks are not exact


class _Beat(msgspec.Struct, frozen=True, eq=False):
    """To the session, from itself: time for a heartbeat."""


class _AskAgain(msgspec.Struct, frozen=True, eq=False):
    """To the session, from itself: time for the heartbeat that suspicions ask for."""


class _Decide(msgspec.Struct, frozen=True, eq=False):
    """To the session, from itself: it may have been lost for too long."""


class _GiveUp(msgspec.Struct, frozen=True, eq=False):
    """To the session, from itself: the time for telling the server that we are done is over."""


class Session(RuntimeActor):
    """Opens, keeps and ends one session.

    Args:
        service: what it belongs to; its `link.ref` is set to this actor.
        settings: what to open it with.
    """

    title = "session actor"

    def __init__(self, service: Service, settings: SessionSettings) -> None:
        super().__init__(service.platform.control)
        self._service = service
        self._settings = settings
        self._config = service.config
        self._lanes = service.lanes
        self._link = service.link
        self._hub = service.hub
        self._session_id: str | None = None
        self._lost_since = 0.0
        self._users = Users(service)
        self._suspicions: list[Suspicion] = []
        self._beating = False
        self._asking_later = False  # a heartbeat for suspicions has its time
        self._spacing = Spacing()
        self._began = self.now()
        self._last_sign = 0.0
        self._unanswered = 0  # heartbeats in a row
        self._rounds = Rounds(self._config.heartbeat_interval, self.now())
        self._story = service.story
        self._creating = False  # whether the server was asked for a session
        self._finishing: FinishSession | None = None

    def on_start(self) -> None:
        """Open the session: first ask for the server's settings, then create it, or enter the one that is there."""
        self._link.ref = self.actor_ref
        if self._settings.refusal is not None:
            self._end(self._settings.refusal)
        elif self._settings.said:
            try:
                self._configured(*client_config_response("", self._settings.said))
            except TinkerError as error:
                self._end(error)
        else:
            ask(
                self._lanes,
                self.actor_ref,
                "client_config",
                ClientConfigRequest(sdk_version=PROTOCOL_VERSION),
                patience=self._config.creation_timeout,
            )

    def receive(self, message: Any) -> Any:
        """Handle a message; see `messages`."""
        if isinstance(message, TakeNumber | Meet):
            self._users.asked(message)
        elif isinstance(message, Replied):
            self._replied(message)
        elif isinstance(message, CallFailed):
            self._call_failed(message)
        elif isinstance(message, _Beat):
            self._beat()
        elif isinstance(message, Suspicion):
            self._suspect(message)
        elif isinstance(message, _AskAgain):
            self._asking_later = False
            self._ask()
        elif isinstance(message, FinishSession):
            self._finish(message)
        elif isinstance(message, _Decide):
            self._decide()
        elif isinstance(message, _GiveUp):
            self._finished()
        elif isinstance(message, Shutdown):
            self.end(message.error)
        else:
            super().receive(message)

    def describe(self) -> str:
        """Return id and state."""
        if self._link.error is not None:
            return f"{self._link.state}: {self._link.error.message}"
        if self._session_id is None:
            return "being opened"
        state = f"open as {self._session_id}"
        return f"{state}; heartbeats unanswered: {self._unanswered}" if self._unanswered else state

    def on_dead_letter(self, message: Any) -> None:
        """Answer those who came too late."""
        error = self._link.error or SessionLostError("The session has ended.")
        if isinstance(message, TakeNumber | Meet):
            tell(message.reply_to, DropSession(self._link, error.replica()))
        elif isinstance(message, Suspicion):
            tell(message.reply_to, Verdict(message.item_id, alive=False))
        elif isinstance(message, FinishSession):
            self._service.let_go()

    def settle(self, error: TinkerError) -> None:
        """Fail what belongs to the session: its state on the server can't be followed any more.

        In a service that ends, the session is the last to go.
        """
        if self._service.ended is None:
            self._end(SessionLostError(error.message, advice=error.advice))
        else:
            self._end(error)
            self._service.let_go()

    # ------------------------------------------------------------ opening

    def _replied(self, message: Replied) -> None:
        if message.to == "client_config":
            self._configured(*message.outcome.value)
        elif message.to == "create_session":
            self._opened(message.outcome.value)
        elif message.to == "session_heartbeat":
            self._alive()
        elif message.to == "finish_session":
            self._finished()

    def _configured(self, server: ClientConfigResponse, said: bytes) -> None:
        self._service.server, self._service.said = server, said
        self._open()

    def _open(self) -> None:
        if self._settings.session_id is not None:
            self._enter(self._settings.session_id)
            # At once: that the session is gone shows before anything is asked of it.
            self._send_heartbeat()
            return
        self._creating = True
        ask(
            self._lanes,
            self.actor_ref,
            "create_session",
            CreateSessionRequest(
                tags=list(self._config.tags),
                user_metadata=self._settings.user_metadata,
                sdk_version=PROTOCOL_VERSION,
                project_id=self._config.project_id,
                display_name=self._settings.display_name,
            ),
            patience=max(0.0, self._began + self._config.creation_timeout - self.now()),
        )

    def _opened(self, created: CreateSessionResponse) -> None:
        self._story.opened(created)
        self._hub.emit(SessionCreated(created.session_id))
        self._enter(created.session_id)

    def _enter(self, session_id: str) -> None:
        self._session_id = self._service.session_id = session_id
        self._last_sign = self.now()
        self._rounds.lost(self._last_sign)
        if self._link.state == "opening":
            self._link.enter("open")
        self._users.answer_waiting()
        self.tell_later(self._config.heartbeat_interval, _Beat())
        if self._finishing is not None:
            self._say_farewell(session_id, self._finishing)

    # ------------------------------------------------------------ staying

    def _beat(self) -> None:
        if self._session_id is None or self._link.state == "ended":
            return
        self.tell_later(self._config.heartbeat_interval, _Beat())
        now = self.now()
        self._stood_still(now)
        if self._link.state == "lost":
            self._send_heartbeat()
            return
        silence = now - self._last_sign
        if silence > self._config.silence_limit and self._unanswered:
            self._lost(SessionLostError(f"No heartbeat was answered for {silence:.0f} s."))
            return
        self._story.silent(self._session_id, silence)
        self._send_heartbeat()

    def _stood_still(self, now: float) -> None:
        """Take time in which this process stood still off every wait."""
        lost = self._rounds.lost(now)
        self._last_sign += lost
        self._lost_since += lost

    def _send_heartbeat(self) -> None:
        if not self._beating and self._session_id is not None:
            self._beating = True
            self._spacing.asked(self.now())
            body = SessionHeartbeatRequest(session_id=self._session_id)
            ask(self._lanes, self.actor_ref, "session_heartbeat", body, timeout=self._config.heartbeat_timeout)

    def _suspect(self, suspicion: Suspicion) -> None:
        state = self._link.state
        if state == "lost":
            return  # the lane is told to hold what it suspects
        if state == "ended" or self._session_id is None:
            tell(suspicion.reply_to, Verdict(suspicion.item_id, alive=state != "ended"))
            return
        self._suspicions.append(suspicion)
        self._ask()

    def _ask(self) -> None:
        """Send a heartbeat for the suspicions there are, when it has its time."""
        wait = self._spacing.wait(self.now())
        if not self._suspicions or self._beating or self._asking_later:
            return
        if wait > 0:
            self._asking_later = True
            self.tell_later(wait, _AskAgain())
        else:
            self._send_heartbeat()

    def _alive(self) -> None:
        self._beating = False
        self._unanswered = 0
        self._story.heard(self._session_id)
        self._last_sign = self.now()
        if self._link.state == "lost":
            self._well_again()
        suspicions, self._suspicions = self._suspicions, []
        if suspicions:
            self._spacing.answered(self._last_sign)
        for suspicion in suspicions:
            tell(suspicion.reply_to, Verdict(suspicion.item_id, alive=True))

    def _call_failed(self, message: CallFailed) -> None:
        if message.to == "client_config" and message.error.status_code == _NOT_FOUND:
            self._open()  # servers of the JSON era have no such endpoint
        elif message.to in ("client_config", "create_session"):
            self._end(message.error)
            if self._finishing is not None:
                self._finished()
        elif message.to == "session_heartbeat":
            self._heartbeat_failed(message.error)
        elif message.to == "finish_session":
            logger.debug("The server could not be told that the session is over: %s", message.error)
            self._finished()

    def _heartbeat_failed(self, error: TinkerError) -> None:
        self._beating = False
        self._unanswered += 1
        if error.status_code in _GONE:
            self._lost(
                SessionLostError(
                    f"The server no longer knows session {self._session_id}.", status_code=error.status_code
                )
            )
        elif self._suspicions:
            # Nothing can be said yet; ask again soon, and leave it to the limits how long.
            self._spacing.failed(self.now(), min(1.0, self._config.heartbeat_interval))
            self._ask()

    # ------------------------------------------------------------ ending

    def _lost(self, error: SessionLostError) -> None:
        assert self._session_id is not None
        if self._link.state != "open":
            return
        self._story.lost(self._session_id, error.message)
        self._hub.emit(SessionLost(self._session_id, error))
        if not self._settings.on_loss.holds(0.0):
            self._end(error)
            return
        self._link.enter("lost", error)
        self._lost_since = self.now()
        self._suspicions.clear()
        self._users.hold()
        self._lanes.broadcast(HoldSession(self._link, error))
        self._decide()

    def _decide(self) -> None:
        """Give up a session that is lost for too long, or come back when it will be."""
        error, now = self._link.error, self.now()
        if self._link.state != "lost" or error is None:
            return
        self._stood_still(now)
        lost_for = now - self._lost_since
        if self._settings.on_loss.holds(lost_for):
            self.tell_later(max(self._settings.on_loss.patience - lost_for, _SOONEST), _Decide())
        else:
            self._end(error)

    def _well_again(self) -> None:
        """Go on: the server knows the session, whatever it said of it before."""
        self._link.enter("open")
        self._story.found(self._session_id, self.now() - self._lost_since)
        self._users.resume()
        self._lanes.broadcast(ResumeSession(self._link))

    def _end(self, error: TinkerError) -> None:
        """Fail what waits for the session and what is under way in it. Does nothing the second time."""
        if self._link.state == "ended":
            return
        self._link.enter("ended", error)
        for suspicion in self._suspicions:
            tell(suspicion.reply_to, Verdict(suspicion.item_id, alive=False))
        self._suspicions = []
        self._users.drop()
        self._lanes.broadcast(DropSession(self._link, error))

    def _finish(self, message: FinishSession) -> None:
        """Fail what is left and tell the server, unless there is nothing there that is ours to end."""
        if self._link.state == "ended" or not self._creating:
            self._finished()
            return
        self._finishing = message
        self._end(self._service.ended or SessionLostError("The session was ended."))
        self.tell_later(max(message.patience, _FIRST_ATTEMPT), _GiveUp())
        if self._session_id is not None:  # else as soon as it is there
            self._say_farewell(self._session_id, message)

    def _say_farewell(self, session_id: str, message: FinishSession) -> None:
        body = FinishSessionRequest(reason=FinishReason(type=message.status), detail=message.detail)
        patience = max(message.patience, _FIRST_ATTEMPT)
        ask(
            self._lanes,
            self.actor_ref,
            "finish_session",
            body,
            patience=patience,
            timeout=patience,
            session_id=session_id,
        )

    def _finished(self) -> None:
        self._story.ended(self._session_id)
        self.end(self._service.ended or SessionLostError("The session was ended."))
