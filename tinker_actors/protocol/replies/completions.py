"""Completions: hearing of all finished samples of a sampler over one request (wire protocol 5.5).

    Channel.next_request() -> the body of `retrieve_futures`     completions_outcome() -> Told, Retry or Unavailable
    Channel.told(Told)     -> whose results are there             Channel.expect()      -> told before it was waited for

The server repeats what is behind the cursor, may tell of a sample before the answer to its submission is here, and may
drop results that are acknowledged; so an id is acknowledged only when its result is here, and until a request that
carried it was answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tinker_actors.errors import TinkerError
from tinker_actors.protocol.codec.wire_json import UNREADABLE, Reader, encode
from tinker_actors.protocol.limits.retry import retry_after, retryable_status
from tinker_actors.protocol.replies.error_replies import not_understood, status_error
from tinker_actors.protocol.replies.outcomes import UNREADABLE_RETRIES, Retry
from tinker_actors.protocol.replies.signals import Signals, failure, says_failure

BAD_REQUESTS = 3
"""How many 400s in a row are taken for a proxy's mistake."""

_BAD_REQUEST = 400
_PAYMENT_REQUIRED = 402
_TOO_MANY_REQUESTS = 429
_NOT_IMPLEMENTED = 501
_BILLING_PAUSE = 5.0  # seconds
# Completions nobody waits for yet are kept up to this number. One that is dropped is found by polling for it.
_MOST_EARLY = 20_000
# So many in a row that nobody came to wait for are no news any more: a server could go on like that for ever.
_MOST_UNCLAIMED = 1000
_WHAT = "retrieve_futures"


class Completion(msgspec.Struct):
    """A sample that is over.

    Attributes:
        request_id: which one.
        state: `"finished"` or `"failed"`; what failed says why when it is asked for.
        response_payload_uncompressed_size: bytes of the result; 0 when not said.
    """

    request_id: str
    state: str = "finished"
    response_payload_uncompressed_size: int | None = None

    @property
    def size(self) -> int:
        """Bytes of the result; 0 when not said."""
        return max(0, self.response_payload_uncompressed_size or 0)


class Told(msgspec.Struct):
    """What the server told: samples that are over, and up to where."""

    completions: list[Completion] = []
    cursor: int | None = None


class Unavailable(msgspec.Struct, frozen=True):
    """The server does not tell, now and later; its futures have to be polled one by one."""

    error: TinkerError


class _Told(Signals, kw_only=True):
    completions: list[Completion]
    cursor: int | None = None


_TOLD = Reader(_Told)


def completions_outcome(
    status: int, headers: Mapping[str, str], body: bytes, now_wall: float, bad_requests: int
) -> Told | Retry | Unavailable:
    """Return what an answer of `retrieve_futures` means.

    A 404 or 410 is no word about a single sample; polling for each finds out whether the session is gone.

    Args:
        status: the HTTP status.
        headers: the answer's headers, names in lower case.
        body: the answer's body.
        now_wall: wall clock, seconds since 1970, for a `Retry-After` date.
        bad_requests: 400s, or successes that could not be read, in a row before this answer.
    """
    if status // 100 == 2:  # noqa: PLR2004 - the class of successes
        try:
            told = _TOLD.read(body)
            if says_failure(told):
                return Unavailable(failure(told, None))
            return Told(told.completions, told.cursor)
        except UNREADABLE:
            unreadable = not_understood(status, headers, body, _WHAT)
            return Retry("transient", unreadable) if bad_requests < UNREADABLE_RETRIES else Unavailable(unreadable)
    error = status_error(status, headers, body, _WHAT, outcome="not_applied")
    after = retry_after(headers, now_wall)
    if status == _PAYMENT_REQUIRED:
        return Retry("throttle", error, max(after or 0.0, _BILLING_PAUSE))
    if status == _BAD_REQUEST:
        return Retry("transient", error, after) if bad_requests < BAD_REQUESTS else Unavailable(error)
    if retryable_status(status, headers) and status != _NOT_IMPLEMENTED:
        return Retry("throttle" if status == _TOO_MANY_REQUESTS else "transient", error, after)
    return Unavailable(error)


class Channel:
    """What is known of the completions of one client of a sampling session. For one thread.

    Args:
        sampling_session_id: the server's id.
        clone_id: which of the sampler's clients.

    Attributes:
        waiting: by request id: who waits, and since when in seconds; the first has waited longest.
        available: whether the server tells completions of it.
        bad_requests: answers in a row that no repetition is likely to mend.
        news: whether the last answer told of anything that was not known.
    """

    __slots__ = (
        "_carried", "_cursor", "_early", "_fetched", "_target", "_unclaimed", "available", "bad_requests", "news",
        "waiting",
    )  # fmt: skip

    def __init__(self, sampling_session_id: str, clone_id: int) -> None:
        target = {"type": "sampling_session", "sampling_session_id": sampling_session_id, "cloned_sampler_id": clone_id}
        self._target = encode(target)
        self._cursor = 0
        self._fetched: dict[str, None] = {}
        self._carried: list[str] = []
        self._early: dict[str, Completion] = {}
        self.waiting: dict[str, tuple[Any, float]] = {}
        self.available = True
        self.bad_requests = 0
        self.news = False
        self._unclaimed = 0

    @property
    def idle(self) -> bool:
        """Whether nobody waits and nothing is left to be acknowledged."""
        return not self.waiting and not self._fetched

    def expect(self, request_id: str, who: Any, now: float) -> Completion | None:
        """Wait for a sample's end; return it when it was told already."""
        early = self._early.pop(request_id, None)
        if early is None:
            self.waiting[request_id] = (who, now)
        else:
            self._unclaimed = 0
        return early

    def drop(self, request_id: str) -> None:
        """Wait for a sample no more."""
        self.waiting.pop(request_id, None)

    def fetched(self, request_id: str) -> None:
        """Note that a result is here, so that the server need not keep it."""
        self._fetched[request_id] = None

    def next_request(self) -> tuple[bytes, bool] | None:
        """Return the body of the next request and whether it only acknowledges, or None when there is nothing to ask.

        One at a time: the next after `told` or a failure.
        """
        if self.idle:
            return None
        self._carried = sorted(self._fetched)
        only_acknowledges = not self.waiting
        body = b'{"target":%b,"prev_cursor":%d,"retrieved_request_ids":%b%b}' % (
            self._target,
            self._cursor,
            encode(self._carried),
            b',"timeout":0' if only_acknowledges else b"",
        )
        return body, only_acknowledges

    def told(self, news: Told) -> list[tuple[Any, Completion]]:
        """Take what the server told; return who waited for it."""
        self.bad_requests = 0
        acknowledged = self._carried
        self._carried = []
        if news.cursor is not None:
            self._cursor = max(self._cursor, news.cursor)
        found = []
        unclaimed = self._unclaimed
        for completion in news.completions:
            waiter = self.waiting.pop(completion.request_id, None)
            if waiter is not None:
                found.append((waiter[0], completion))
            elif completion.request_id not in self._fetched:
                self._note_early(completion)
        for request_id in acknowledged:
            self._fetched.pop(request_id, None)
        self.news = bool(found) or unclaimed < self._unclaimed <= _MOST_UNCLAIMED
        if found:
            self._unclaimed = 0
        return found

    def _note_early(self, completion: Completion) -> None:
        self._unclaimed += completion.request_id not in self._early
        self._early[completion.request_id] = completion
        if len(self._early) > _MOST_EARLY:
            del self._early[next(iter(self._early))]

    def give_up_acknowledging(self) -> None:
        """Forget what is left to acknowledge: the server will drop it in its own time."""
        self._fetched.clear()

    def overdue(self, since: float) -> Any | None:
        """Stop waiting for the sample that is waited for longest, if it is waited for since `since` or longer."""
        for request_id, (who, began) in self.waiting.items():
            if began > since:
                return None
            del self.waiting[request_id]
            return who
        return None

    def abandon(self) -> list[Any]:
        """Hear of nothing any more; return all who wait."""
        self.available = False
        left = [who for who, _ in self.waiting.values()]
        self.waiting.clear()
        self._fetched.clear()
        self._early.clear()
        return left
