"""Progress: what a pending operation waits for, since when, and after how much trying."""

from __future__ import annotations

import time
from typing import Literal, Protocol

import msgspec

WaitReason = Literal[
    "queued here",
    "waiting for its session",
    "waiting for its model",
    "waiting for its sampler",
    "waiting for its turn",
    "waiting for room",
    "waiting for publish()",
    "waiting for newer weights",
    "throttled",
    "sending",
    "queued at the server",
    "paused by the server",
    "fetching the result",
    "backing off",
    "checking the session",
    "recovering",
    "done",
]


_AT_SERVER: tuple[WaitReason, ...] = (
    "sending", "queued at the server", "paused by the server", "fetching the result", "checking the session",
)  # fmt: skip


class Server(Protocol):
    """What is known of the server that an operation is for."""

    @property
    def trouble(self) -> str:
        """Why it can't be reached or does not work, while that is so; else empty. Read from any thread."""
        ...


class Progress(msgspec.Struct, frozen=True):
    """Where a pending operation stands.

    Attributes:
        what: the operation's name.
        reason: what it waits for.
        detail: more about the reason, e.g. the last error or the server's words; while the server does not answer, its
            last failure, whatever is waited for. May be empty.
        since: monotonic time in seconds at which this reason began.
        attempts: how often the request was sent.
        polls: how often the result was asked for.
        request_id: the server's id, once it accepted the request.
        tags: the user's own words for it.
    """

    what: str
    reason: WaitReason
    detail: str
    since: float
    attempts: int
    polls: int
    request_id: str | None
    tags: tuple[str, ...] = ()


class Tracker:
    """The mutable record behind `Progress`.

    Written by one thread at a time (whoever moves the operation); read from any thread, where a reading may be a
    moment old.

    Args:
        what: the operation's name.
        now: monotonic time in seconds.
        reason: what it waits for at first.
        tags: the user's own words for it.
        server: the server it is for, or None where nothing is asked of one.

    Attributes:
        born: when it was made.
    """

    __slots__ = ("attempts", "born", "detail", "polls", "reason", "request_id", "server", "since", "tags", "what")

    def __init__(
        self,
        what: str,
        now: float,
        reason: WaitReason = "queued here",
        tags: tuple[str, ...] = (),
        server: Server | None = None,
    ) -> None:
        self.what = what
        self.reason: WaitReason = reason
        self.detail = ""
        self.born = self.since = now
        self.attempts = 0
        self.polls = 0
        self.request_id: str | None = None
        self.tags = tags
        self.server = server

    def enter(self, reason: WaitReason, now: float, detail: str = "") -> None:
        """Note a reason; the time starts anew only when it is another one."""
        if reason != self.reason:
            self.reason = reason
            self.since = now
        self.detail = detail

    def end(self) -> None:
        """Note that the operation is over. Asks the system's clock: whoever settles a future has no other at hand."""
        self.reason, self.detail, self.since = "done", "", time.monotonic()

    def read(self) -> Progress:
        """Return a copy for the user, in which a server that does not answer shows as that."""
        reason, detail = self._now()
        return Progress(self.what, reason, detail, self.since, self.attempts, self.polls, self.request_id, self.tags)

    def _now(self) -> tuple[WaitReason, str]:
        reason, detail = self.reason, self.detail
        trouble = "" if self.server is None or reason == "done" else self.server.trouble
        if trouble and reason in _AT_SERVER:
            return "backing off", trouble
        return reason, detail or trouble

    def history(self, now: float) -> str:
        """Return the story so far in one line, for error messages."""
        reason, detail = self._now()
        parts = [f"{self.what}: {reason} for {max(0.0, now - self.since):.1f} s"]
        if self.attempts:
            parts.append(f"sent {self.attempts} time{'s' if self.attempts > 1 else ''}")
        if self.request_id is not None:
            parts.append(f"accepted as request {self.request_id}")
        if self.polls:
            parts.append(f"{self.polls} poll{'s' if self.polls > 1 else ''}")
        if detail:
            parts.append(f"last: {detail}")
        return ", ".join(parts)
