"""Hearing: how a lane hears of finished samples over one connection per sampler, where the server offers that.

Who waits here holds no connection. What is told is fetched at once. A server that answers at once without news is asked
more and more rarely. A server that stops offering it, or never did, costs nothing but the change: who waits is polled
for one by one. And as a completion may be lost, what was waited for very long is asked for directly once; that is also
the only sign of life of an operation that waits here.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tinker_actors.actors.lane.work import Work
from tinker_actors.net.transport import Answer, Reply, Request
from tinker_actors.protocol.endpoints import API, JSON
from tinker_actors.protocol.limits.pacing import next_question
from tinker_actors.protocol.replies.completions import Channel, Told, Unavailable, completions_outcome
from tinker_actors.protocol.replies.outcomes import Failed, Retry, broken_outcome
from tinker_actors.runtime.actor import logger

if TYPE_CHECKING:
    from tinker_actors.actors.lane.polling import Polling
    from tinker_actors.actors.lane.retrying import Wait
    from tinker_actors.actors.lane.table import Desk

_NAME = "retrieve_futures"
_PATH = f"{API}{_NAME}"
_HEADERS = (("Content-Type", JSON),)
_BAD_REQUEST = 400
_ACKNOWLEDGE_TIMEOUT = 5.0  # seconds, wire protocol 5.5
# Who was not heard of for this share of the liveness limit is asked for; 120 s with the default limit.
_WATCH_SHARE = 5
# So many at a time, so that thousands that began together are not asked for together.
_MOST_WATCHED = 500
# The share of the connections that may be out for channels. Above it, samples are polled for one by one.
_MOST_SHARE = 4
# Channels that are idle are kept for their cursors, up to this number.
_MOST_IDLE = 1000

Name = tuple[str, int]


class _Listening:
    """A channel and the request that is out for it."""

    __slots__ = ("asked", "channel", "failures", "name", "out", "requests", "soon", "timer")

    def __init__(self, name: Name) -> None:
        self.name = name
        self.channel = Channel(*name)
        self.out = False  # a request is out, or a timer will send one
        self.asked = 0.0
        self.requests = 0
        self.failures = 0  # requests in a row that failed
        self.timer: Wait | None = None
        self.soon = 0  # answers without news in a row that came sooner than one that was held


class Hearing:
    """The hearing hand of a lane; used on its thread only."""

    def __init__(self, desk: Desk, polling: Polling) -> None:
        self._desk = desk
        self._polling = polling
        self._budget = desk.settings.limits.budget
        self._listening: dict[Name, _Listening] = {}
        self._out = 0
        self._most_out = max(1, desk.config.max_connections // _MOST_SHARE)
        self._watch_after = desk.config.liveness_limit / _WATCH_SHARE

    def begin(self, work: Work, name: Name, now: float) -> bool:
        """Wait for a work's end on a channel; return False when it can't be heard of."""
        assert work.request_id is not None
        listening = self._listening.get(name) or self._open(name)
        channel = listening.channel
        if not channel.available or (not listening.out and self._out >= self._most_out):
            return False
        work.channel = channel
        if not work.paused:
            work.tracker.enter("queued at the server", now)
        early = channel.expect(work.request_id, work, now)
        if early is not None:
            self._fetch(work, early.size, now)
        elif not listening.out:
            self._ask(listening)
        return True

    def fetched(self, channel: Channel, request_id: str) -> None:
        """Note that a result is here; the server hears of it with the next request."""
        if channel.available:
            channel.fetched(request_id)

    def look_after(self, now: float) -> None:
        """Ask directly for who has waited for long, and acknowledge what nobody waits behind."""
        left = _MOST_WATCHED
        for listening in list(self._listening.values()):
            channel = listening.channel
            while left and (work := channel.overdue(now - self._watch_after)) is not None:
                left -= 1
                work.way = "look"
                self._polling.begin(work, now)
            if not listening.out and not channel.idle and self._out < self._most_out:
                self._ask(listening)

    # ------------------------------------------------------------ asking and what comes back

    def _open(self, name: Name) -> _Listening:
        if len(self._listening) >= _MOST_IDLE:
            for old in [old for old in self._listening.values() if old.channel.idle and not old.out]:
                del self._listening[old.name]
        listening = self._listening[name] = _Listening(name)
        return listening

    def _ask(self, listening: _Listening) -> None:
        """Ask, now or, while that is in trouble, when there is a token for it."""
        if self._desk.failing and self._budget.troubled(_NAME):
            self._hold(listening)
            listening.timer = self._desk.retrying.line_up(_NAME, partial(self._let_go, listening))
        else:
            self._send(listening)

    def _send(self, listening: _Listening) -> None:
        asked = listening.channel.next_request()
        if asked is None:
            return
        body, only_acknowledges = asked
        self._hold(listening)
        listening.asked = self._desk.now()
        timeout = _ACKNOWLEDGE_TIMEOUT if only_acknowledges else self._desk.config.poll_timeout
        request = Request("POST", _PATH, _HEADERS, (body,), timeout)
        listening.requests = number = listening.requests + 1
        self._desk.transport.send(request, partial(self._answered, listening, only_acknowledges))
        if self._desk.failing:
            self._desk.retrying.watch(_NAME, lambda: listening.out and listening.requests == number)

    def _answered(self, listening: _Listening, only_acknowledged: bool, answer: Answer) -> None:
        self._release(listening)
        listening.requests += 1
        channel, desk = listening.channel, self._desk
        outcome: Told | Retry | Unavailable | Failed
        if isinstance(answer, Reply):
            wall = desk.settings.wall()
            outcome = completions_outcome(answer.status, answer.headers, answer.body, wall, channel.bad_requests)
        else:
            outcome = broken_outcome(answer.kind, answer.phase, answer.message, answer.sent, "retrieve_futures")
        if not isinstance(outcome, Retry):
            listening.failures = 0
            if desk.failing:
                desk.retrying.well(_NAME)
        if isinstance(outcome, Told):
            now = desk.now()
            for work, completion in channel.told(outcome):
                self._fetch(work, completion.size, now)
            if channel.news:
                listening.soon = 0
                # In the next turn, behind the fetches: what ends meanwhile is heard of with one answer.
                self._soon(listening, 0.0)
            else:
                pause, listening.soon = next_question(listening.soon, now - listening.asked)
                self._soon(listening, pause)
        elif only_acknowledged:
            channel.give_up_acknowledging()
            self._soon(listening, 0.0)
        elif isinstance(outcome, Retry):
            self._again(listening, outcome)
        else:
            self._fall_back(listening, outcome)
        desk.go_on()

    def _again(self, listening: _Listening, retry: Retry) -> None:
        channel = listening.channel
        status = retry.error.status_code
        if status is not None and status <= _BAD_REQUEST:
            channel.bad_requests += 1
        if not channel.idle:
            self._hold(listening)
            go = partial(self._let_go, listening)
            self._desk.retrying.again(_NAME, listening, listening.asked, retry, go)

    def _soon(self, listening: _Listening, delay: float) -> None:
        if not listening.channel.idle:
            self._hold(listening)
            self._desk.later(delay, partial(self._ask_again, listening))

    def _ask_again(self, listening: _Listening) -> None:
        self._release(listening)
        self._ask(listening)

    def _let_go(self, listening: _Listening) -> None:
        """Ask with the token that was waited for."""
        self._release(listening)
        self._send(listening)

    def _hold(self, listening: _Listening) -> None:
        listening.out = True
        self._out += 1

    def _release(self, listening: _Listening) -> None:
        listening.out = False
        self._out -= 1

    def _fetch(self, work: Work, size: int, now: float) -> None:
        work.way = "fetch"
        work.told = True
        work.size = size
        self._polling.begin(work, now)

    def _fall_back(self, listening: _Listening, why: Unavailable | Failed) -> None:
        left = listening.channel.abandon()
        # A session that is lost or has ended, with the question still out, is not the server's refusal to tell.
        if any(work.session is None or work.session.error is None for work in left):
            logger.warning(
                "%s: completions can't be heard of and are polled for one by one (%d now): %s",
                listening.name[0], len(left), why.error,
            )  # fmt: skip
        now = self._desk.now()
        for work in left:
            self._polling.later(work, now)
