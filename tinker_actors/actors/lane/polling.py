"""Polling: how an accepted operation's result gets here.

The server holds a poll until the result is there or half a minute is over; the next poll follows at once, or after a
pause where the server did not hold it or asks for one. Where there are more polls than connections they take turns. A
result that is known to be there is fetched at once, beside the polls, within a budget of bytes. What fails is repeated
after a backoff, and while the server is in trouble, polls go one by one.
"""

from __future__ import annotations

from functools import partial

import msgspec

from tinker_actors.actors.lane.completions import Hearing
from tinker_actors.actors.lane.table import Desk
from tinker_actors.actors.lane.work import Work
from tinker_actors.errors import OutcomeUnknownError, TinkerError
from tinker_actors.net.transport import Answer, Reply, Request
from tinker_actors.protocol.endpoints import ENDPOINTS, JSON, REQUEST_ITERATION, REQUEST_TYPE, accept
from tinker_actors.protocol.limits.lines import Line
from tinker_actors.protocol.limits.pacing import next_question
from tinker_actors.protocol.limits.turns import HELD, HELD_TLS, Turns
from tinker_actors.protocol.replies.outcomes import (
    UNREADABLE_RETRIES,
    Done,
    Failed,
    FetchFull,
    Retry,
    Suspect,
    TryLater,
    Unreadable,
    asks_for_json,
    broken_outcome,
    poll_outcome,
)
from tinker_actors.runtime.progress import WaitReason
from tinker_actors.runtime.timers import Timer

_NAME = "retrieve_future"
_PATH = ENDPOINTS[_NAME].path
# Connections kept free for submitting while polls hold all the others.
_RESERVE = 8
# Results fetched at a time: enough to keep a distant server busy, too few to open a thousand connections in a burst.
_MOST_FETCHES = 128
# Without a sign for this share of the liveness limit, a poll is held until the server answers, whoever waits.
_FIRM_SHARE = 4
# Polls begun, and polls given up, in one turn of the lane: some 2 ms, so that what is more urgent has its turn soon.
_TURN = 8
# How often, in seconds, it is asked how many connections there can be.
_LOOK_AT_CAPACITY = 0.1
# Headers of the first polls are made once.
_KNOWN_ITERATIONS = 8

Headers = tuple[tuple[str, str], ...]

_text = msgspec.json.Encoder().encode  # of a text that was read from JSON, and so has a JSON form


def _headers(request_type: str, iteration: int, *, in_json: bool = False) -> Headers:
    return (
        ("Accept", JSON if in_json else accept(request_type)),
        ("Content-Type", JSON),
        (REQUEST_TYPE, request_type),
        (REQUEST_ITERATION, str(iteration)),
    )


class Polling:
    """The polling hand of a lane; used on its thread only.

    Attributes:
        turns: who polls, and who waits for a connection.
        fetch_line: who waits to fetch a result. With nobody waiting in either, there is nothing to pump.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        most = self._most_polls()
        self.turns: Turns[Work] = Turns(most, HELD_TLS if desk.config.url.scheme == "https" else HELD)
        self.hearing = Hearing(desk, self)
        self._most_fetches = min(most, _MOST_FETCHES)
        self._look_at_capacity = float("-inf")
        self._fetches = 0
        self.fetch_line: Line[Work] = Line()
        self._balance = desk.config.response_bytes
        self._firm_after = desk.config.liveness_limit / _FIRM_SHARE
        self._budget = desk.settings.limits.budget
        self._known: dict[tuple[str, int], Headers] = {}
        self._shift: Timer | None = None
        self._again_soon: Timer | None = None

    def _most_polls(self) -> int:
        """Return how many connections polls may hold; fewer while the process has no more files."""
        return max(1, min(self._desk.config.max_connections, self._desk.transport.capacity) - _RESERVE)

    def begin(self, work: Work, now: float) -> None:
        """See to a work's result: hear of it, ask for it as soon as there is a connection, or fetch it."""
        work.state = "polling"
        way = work.way
        if way == "hear" and work.admission is not None:
            channel = work.admission.channel
            if channel is not None and self.hearing.begin(work, channel, now):
                return
        if self._desk.failing and self._held_back(work):
            return
        if way == "fetch":
            self.fetch_line.append(work, work.rank)
            self._fetch()
        elif self.turns.free(work.rank):
            self._send(work, now)
        else:
            self._wait_for_turn(work, now)

    def later(self, work: Work, now: float) -> None:
        """See to a result as `begin` does, but not in this turn of the lane: many others come with it."""
        work.way = "look"
        self._wait_for_turn(work, now)

    def counts(self) -> tuple[int, int]:
        """Return how many polls and fetches are out, and how many wait for a connection."""
        return self.turns.out + self._fetches, self.turns.waiting.length + self.fetch_line.length

    def dropped(self, work: Work) -> None:
        """Count out a request that was given up."""
        if work.way == "fetch":
            self._fetches -= 1
            self._balance += work.size
        else:
            self.turns.release(work, work.rank)

    def pump(self) -> None:
        """Send what there are connections for, as much as one turn of the lane has time for."""
        if self.fetch_line.length:
            self._fetch()
        if not self.turns.waiting.length:
            return
        now = self._desk.now()
        for _ in range(_TURN):
            if not self._begin_next(now):
                self._watch_turns(now)
                return
        if self._again_soon is None:
            self._again_soon = self._desk.later(0.0, self._go_on)

    def _go_on(self) -> None:
        self._again_soon = None
        self.pump()

    def _held_back(self, work: Work) -> bool:
        """Have a poll wait for a token while the server is in trouble; return whether it has to."""
        if not self._budget.troubled(_NAME):
            return False
        work.timer = self._desk.retrying.line_up(_NAME, partial(self._let_go, work))
        return True

    # ------------------------------------------------------------ turns and fetches

    def _wait_for_turn(self, work: Work, now: float) -> None:
        work.state = "turn"
        work.tracker.enter("waiting for its turn", now)
        self.turns.waiting.append(work, work.rank)
        if self._again_soon is None:
            self._again_soon = self._desk.later(0.0, self._go_on)

    def _begin_next(self, now: float) -> bool:
        """Poll for who is next; return False when nobody is, or there is no connection."""
        work = self.turns.next()
        if work is None:
            return False
        if work.state == "turn":
            # While it waited here there was nothing to be heard of it.
            work.last_sign = (work.last_sign or now) + (now - work.tracker.since)
            work.state = "polling"
            if not (self._desk.failing and self._held_back(work)):
                self._send(work, now)
        return True

    def _watch_turns(self, now: float) -> None:
        """Come back when a poll has been held for long enough."""
        if not self.turns.waiting.length:
            return
        due = now + self.turns.next_look(now)
        if self._shift is not None:
            if self._shift.due <= due:
                return
            self._shift.cancel()
        self._shift = self._desk.timers.call_at(due, self._change_turns)

    def _change_turns(self) -> None:
        """Give up polls that were held for long, each for one that waits."""
        self._shift = None
        now = self._desk.now()
        for _ in range(_TURN):
            work = self.turns.to_give_up(now)
            if work is None:
                break
            assert work.ticket is not None
            work.ticket.cancel()
            work.ticket = None
            self.turns.release(work, work.rank)
            self._wait_for_turn(work, now)
            self._begin_next(now)
        else:
            self._shift = self._desk.later(0.0, self._change_turns)
        self.pump()

    def _fetch(self) -> None:
        line = self.fetch_line
        while line.length and self._fetches < self._most_fetches and self._balance >= 0:
            work = line.popleft()
            if work.state == "polling" and work.way == "fetch" and work.ticket is None:
                self._send(work, self._desk.now())

    # ------------------------------------------------------------ asking and what comes back

    def _send(self, work: Work, now: float) -> None:
        tracker = work.tracker
        iteration = tracker.polls
        tracker.polls = iteration + 1
        request_type = work.tail.request_type
        headers = self._known.get((request_type, iteration))
        if work.unreadable:
            headers = _headers(request_type, iteration, in_json=asks_for_json(work.unreadable))
        elif headers is None:
            headers = _headers(request_type, iteration)
            if iteration < _KNOWN_ITERATIONS:
                self._known[request_type, iteration] = headers
        work.asked = now
        size = work.size
        body = b'{"request_id":%b,"allow_metadata_only":%b}' % (_text(work.request_id), b"false" if size else b"true")
        if work.way == "fetch":
            self._fetches += 1
            self._balance -= size
            tracker.enter("fetching the result", now)
        else:
            if now >= self._look_at_capacity:
                self._look_at_capacity = now + _LOOK_AT_CAPACITY
                self.turns.resize(self._most_polls())
            self.turns.hold(work, work.rank, now, firm=now - (work.last_sign or now) > self._firm_after)
            if work.paused:
                tracker.enter("paused by the server", now, tracker.detail)
            else:
                tracker.enter("queued at the server", now)
        request = Request("POST", _PATH, headers, (body,), self._desk.config.poll_timeout)
        work.ticket = ticket = self._desk.transport.send(request, partial(self._answered, work))
        if self._desk.failing and work.way != "fetch":
            self._desk.retrying.watch(_NAME, lambda: work.ticket is ticket)

    def _answered(self, work: Work, answer: Answer) -> None:
        desk = self._desk
        if work.holder is not desk:
            return
        ticket, work.ticket = work.ticket, None
        self.dropped(work)
        assert work.request_id is not None
        if isinstance(answer, Reply):
            read, wall = partial(work.sink.read, work), desk.settings.wall()
            outcome = poll_outcome(
                answer.status, answer.headers, answer.body, work.request_id, wall, work.limited, read
            )
        else:
            outcome = broken_outcome(answer.kind, answer.phase, answer.message, answer.sent, work.tracker.what)
        if desk.failing and not isinstance(outcome, Retry | Unreadable):
            desk.retrying.well(_NAME)
        if isinstance(outcome, Done):
            if work.channel is not None:
                self._note_fetched(work)
            if not desk.request_ids.doubted or not desk.collisions.hold(work, partial(desk.finish, work, outcome)):
                desk.finish(work, outcome)
        elif isinstance(outcome, Failed):
            self._note_fetched(work)
            error = _doubted(work, outcome.error)
            if not desk.request_ids.doubted or not desk.collisions.hold(work, partial(desk.fail, work, error)):
                desk.fail(work, error)
        elif isinstance(outcome, Retry):
            self._again(work, outcome)
        elif isinstance(outcome, Unreadable):
            assert ticket is not None
            ticket.reject()
            self._not_read(work, outcome)
        else:
            self._not_done(work, outcome, desk.now())
        desk.go_on()

    def _note_fetched(self, work: Work) -> None:
        if work.channel is not None and work.request_id is not None:
            self.hearing.fetched(work.channel, work.request_id)

    def _not_done(self, work: Work, outcome: TryLater | FetchFull | Suspect, now: float) -> None:
        work.failures = work.limited = 0
        if not (work.told and isinstance(outcome, FetchFull)):  # the second time it says nothing
            work.last_sign = now
        if isinstance(outcome, TryLater):
            self._later(work, outcome, now)
        elif isinstance(outcome, FetchFull):
            known, work.told = work.told, True
            work.way = "fetch"
            work.size = max(1, outcome.size)
            if known:
                self._ask_again(work, now, sign=False)  # it is no news that the result is there
            else:
                self.begin(work, now)
        else:
            self._desk.suspect(work, outcome.error)

    def _not_read(self, work: Work, outcome: Unreadable) -> None:
        """Ask again for a result that came and could not be read. The server is not told that it is here."""
        work.unreadable += 1
        if work.unreadable > UNREADABLE_RETRIES:
            self._desk.fail(work, outcome.error)
        else:
            self._again(work, Retry("transient", outcome.error))

    def _later(self, work: Work, outcome: TryLater, now: float) -> None:
        work.paused = outcome.paused
        reason: WaitReason = "paused by the server" if work.paused else "queued at the server"
        work.tracker.enter(
            reason, now, outcome.queue_state_reason or (outcome.queue_state or "" if work.paused else "")
        )
        if work.paused:
            self._desk.submitting.server_paused(now)
            self._desk.settings.limits.pause = (now, work.tracker.detail)
        # Whose end was told will not be told again, even if it is now said not to be over: it has to ask.
        work.way = "look" if work.told else "hear"
        work.size = 0
        self._ask_again(work, now, paused=work.paused, after=outcome.after)

    def _ask_again(
        self, work: Work, now: float, *, paused: bool = False, after: float | None = None, sign: bool = True
    ) -> None:
        """See to a result that is not there yet, at once where the server held the question for a while."""
        pause, work.soon = next_question(work.soon, now - work.asked, paused=paused, after=after)
        if pause <= 0.0:
            self.begin(work, now)
            return
        if sign:  # the server is not asked meanwhile, and owes none
            work.last_sign = now + pause
        work.timer = self._desk.later(pause, partial(self._resume, work))

    def _again(self, work: Work, retry: Retry) -> None:
        if retry.limit is not None:
            work.limited += 1
        if (retry.limit is not None and work.limited > retry.limit) or (
            retry.kind != "throttle" and self._desk.worn_out(work)
        ):
            self._desk.give_up(work, retry.error)
            return
        work.tracker.enter("backing off", self._desk.now(), str(retry.error))
        self._desk.retrying.again(_NAME, work, work.asked, retry, partial(self._let_go, work))

    def _resume(self, work: Work) -> None:
        if work.holder is not self._desk:
            return
        work.timer = None
        if work.state == "polling":
            self.begin(work, self._desk.now())

    def _let_go(self, work: Work) -> None:
        """Ask for a result that waited for its backoff, and for the server where that is in trouble."""
        if not self._budget.troubled(_NAME):
            self._resume(work)
        elif work.holder is self._desk and work.state == "polling":
            work.timer = None
            self._send(work, self._desk.now())


def _doubted(work: Work, error: TinkerError) -> TinkerError:
    """Return what to fail a work with. A server that told a result and now a failure has forgotten the result."""
    if not work.unreadable:
        return error
    doubted = OutcomeUnknownError(
        f"A result of {work.tracker.what} came and could not be read; asked for it again, the server said: "
        f"{error.message}",
        request_id=work.request_id,
        status_code=error.status_code,
    )
    doubted.__cause__ = error
    return doubted
