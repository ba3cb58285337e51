"""Outcomes: what an answer means for the operation behind it.

Pure: status, headers and body in, one of a few records out. What follows from it (waiting, asking the session,
settling a future) is decided by whoever sent the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from tinker_actors.errors import (
    APIConnectionError,
    APIResponseValidationError,
    APITimeoutError,
    RequestFailedError,
    TinkerError,
)
from tinker_actors.protocol.codec.wire_json import UNREADABLE, Reader
from tinker_actors.protocol.limits.retry import milliseconds, retry_after, retryable_status
from tinker_actors.protocol.replies.error_replies import (
    bare,
    broken_advice,
    detail_text,
    is_html,
    json_body,
    media_type,
    not_understood,
    status_error,
)
from tinker_actors.protocol.replies.plain import Read
from tinker_actors.protocol.replies.signals import Signals, failure, read_signals, says_failure, word_of
from tinker_actors.secrets import without_secrets
from tinker_actors.types.wire import UntypedAPIFuture

JSON = "application/json"
PROTOBUF = "application/x-protobuf"

SPURIOUS_400S = 3
"""How many empty 400s in a row are taken for a proxy's mistake (wire protocol 5.3)."""

UNREADABLE_RETRIES = 3
"""How often an answer that says success and can't be read is taken for damage on the way."""

CONFLICT_RETRIES = 6
"""How often a 409 is worth repeating: locks end soon, a taken checkpoint name stays taken."""

_SUCCESS = range(200, 300)
_BAD_REQUEST = 400
_NOT_YET = frozenset({408, 425})  # to a poll: 425 is how some independent servers say it
_CONFLICT = 409
_TOO_MANY_REQUESTS = 429
_INTERNAL_SERVER_ERROR = 500
_GONE = frozenset({404, 410})
# The request did not come whole, came too early or was too much (RFC 9110, section 15.5.9; RFC 8470; RFC 6585).
_NOT_TAKEN = frozenset({408, 425, 429})

_PERMANENT_BREAKS = frozenset({"protocol", "encoding", "too_large"})
_PERMANENT_TLS = ("certificate", "wrong version number", "wrong_version_number")


class Accepted(msgspec.Struct, frozen=True):
    """The server took the operation and gave it a name.

    Attributes:
        request_id: what to poll for.
        model_id: the new model's id, where the server says it already.
        sample_sequence_ids: the names of the sequences to come, for a sample.
    """

    request_id: str
    model_id: str | None = None
    sample_sequence_ids: list[str] | None = None


class Done(msgspec.Struct, frozen=True, eq=False):
    """The final result, or the reply.

    Attributes:
        value: what it was read into.
    """

    value: Any


class Unreadable(msgspec.Struct, frozen=True):
    """An answer that claims success and can't be read, or is not what was asked for; ask again, a few times.

    Attributes:
        error: what to say if nobody asks again.
    """

    error: TinkerError


class TryLater(msgspec.Struct, frozen=True):
    """Not finished: poll again.

    Attributes:
        queue_state: `"active"`, `"paused_capacity"`, `"paused_rate_limit"`, or None when not said.
        queue_state_reason: the server's sentence about it.
        after: seconds the server asks to wait before the next poll, or None.
    """

    queue_state: str | None = None
    queue_state_reason: str | None = None
    after: float | None = None

    @property
    def paused(self) -> bool:
        """Whether the server keeps the operation waiting on purpose."""
        return self.queue_state is not None and self.queue_state.startswith("paused")


class FetchFull(msgspec.Struct, frozen=True):
    """Finished, but too large to come unasked: poll again without `allow_metadata_only`.

    Attributes:
        size: bytes of the result.
    """

    size: int


class Retry(msgspec.Struct, frozen=True):
    """This attempt failed; the same request may be sent again.

    Attributes:
        kind: `"throttle"` (429), `"connection"` (no answer) or `"transient"`.
        error: what to say if nobody tries again.
        after: seconds the server asks to wait, or None.
        limit: how many repeats are worth it when this same answer keeps coming, or None for as long as deadlines
            allow.
    """

    kind: Literal["transient", "throttle", "connection"]
    error: TinkerError
    after: float | None = None
    limit: int | None = None


class Failed(msgspec.Struct, frozen=True):
    """The operation failed for good.

    Attributes:
        error: why.
    """

    error: TinkerError


class Suspect(msgspec.Struct, frozen=True):
    """404 or 410: the session, the model or the promise may be gone. The session knows.

    Attributes:
        error: what to say if the session is well.
    """

    error: TinkerError


SubmitOutcome = Accepted | Retry | Failed | Suspect
PollOutcome = Done | Unreadable | TryLater | FetchFull | Retry | Failed | Suspect
ReplyOutcome = Done | Unreadable | Retry | Failed | Suspect

_FUTURE = Reader(UntypedAPIFuture, "request_id", "model_id", "sample_sequence_ids")


def asks_for_json(unreadable: int) -> bool:
    """Return whether a result is asked for in JSON alone, after so many answers that could not be read.

    The first may have been damaged on the way. When it is no better the second time, what the server writes may be;
    servers that have two forms of a result write them apart.
    """
    return unreadable > 1


def submit_outcome(
    status: int, headers: Mapping[str, str], body: bytes, now_wall: float, what: str, *, doubtful: bool = False
) -> SubmitOutcome:
    """Return what the answer to a submitted operation means.

    Args:
        status: the HTTP status.
        headers: the answer's headers, names in lower case.
        body: the answer's body.
        now_wall: wall clock, seconds since 1970, for a `Retry-After` date.
        what: the operation's name, for messages.
        doubtful: the server may not know the dialect; then a 500 is no passing failure, but how some servers say that
            they can't read the request.
    """
    if doubtful and status == _INTERNAL_SERVER_ERROR:
        return Failed(status_error(status, headers, body, what, outcome="unknown"))
    if status not in _SUCCESS:
        return _refused(status, headers, body, now_wall, what)
    try:
        future = _FUTURE.read(body)
    except UNREADABLE as why:
        signals = read_signals(body)
        if signals is not None and says_failure(signals):
            return Failed(failure(signals, None))
        return Retry("transient", not_understood(status, headers, body, what, str(why)), None, UNREADABLE_RETRIES)
    return Accepted(future.request_id, future.model_id, future.sample_sequence_ids)


def taken_id(what: str, request_id: str) -> Retry:
    """Return what it means that an operation was accepted under another's id, see `request_ids`.

    Args:
        what: the operation's name, for messages.
        request_id: the id.
    """
    error = APIResponseValidationError(
        f"The server answered {what} with the request id {request_id!r}, which it gave to another operation. "
        f"The answers of the server, or of a proxy before it, are mixed up.",
    )
    return Retry("transient", error, None, UNREADABLE_RETRIES)


def reply_outcome(
    status: int, headers: Mapping[str, str], body: bytes, now_wall: float, what: str, read: Read
) -> ReplyOutcome:
    """Return what the answer of a plain request-and-response endpoint means.

    Args:
        status: the HTTP status.
        headers: the answer's headers, names in lower case.
        body: the answer's body.
        now_wall: wall clock, seconds since 1970, for a `Retry-After` date.
        what: the endpoint's name, for messages.
        read: reads the reply.
    """
    if status not in _SUCCESS:
        return _refused(status, headers, body, now_wall, what)
    content_type = media_type(headers) or JSON
    if is_html(content_type, body):
        return Failed(not_understood(status, headers, body, what))
    try:
        return Done(read(content_type, body))
    except APIResponseValidationError as error:
        signals = read_signals(body)
        if signals is not None and says_failure(signals):
            return Failed(failure(signals, None))
        error.status_code = status
        return Unreadable(bare(error))


def poll_outcome(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    request_id: str,
    now_wall: float,
    spurious_400s: int,
    read: Read,
) -> PollOutcome:
    """Return what an answer of `retrieve_future` means (wire protocol 5.2 and 5.3).

    Where the official client polls again at once after a 5xx, this asks for a backoff. A 400 with a `detail` is how
    independent servers say that the operation failed.

    Args:
        status: the HTTP status.
        headers: the answer's headers, names in lower case.
        body: the answer's body.
        request_id: the promise that was asked for.
        now_wall: wall clock, seconds since 1970, for a `Retry-After` date.
        spurious_400s: how many empty 400s came in a row before this answer.
        read: reads the result.
    """
    if status in _SUCCESS:
        return _finished_or_not(status, headers, body, request_id, now_wall, read)
    if status in _NOT_YET:
        return _try_later(read_signals(body), headers, now_wall)
    if status == _BAD_REQUEST and not retryable_status(status, headers):
        return _poll_refused(headers, body, request_id, now_wall, spurious_400s)
    return _refused(status, headers, body, now_wall, "The operation", request_id=request_id, sent=True)


def broken_outcome(kind: str, phase: str, message: str, sent: bool, what: str) -> Retry | Failed:
    """Return what it means that no complete answer came.

    Args:
        kind: `"connect"`, `"tls"`, `"timeout"`, `"reset"`, `"closed"`, `"protocol"`, `"encoding"` or
            `"too_large"`.
        phase: `"connect"`, `"send"`, `"wait"` or `"body"`.
        message: one sentence about it.
        sent: whether the server can have seen any of the request.
        what: what was asked for, for messages.
    """
    permanent = kind in _PERMANENT_BREAKS or (kind == "tls" and any(mark in message.lower() for mark in _PERMANENT_TLS))
    error = (APITimeoutError if kind == "timeout" else APIConnectionError)(
        f"{what} got no answer ({kind} during {phase}): {message}",
        retryable=not permanent,
        outcome="unknown" if sent else "not_applied",
        advice=broken_advice(kind, phase, message),
    )
    return Failed(error) if permanent else Retry("connection", error)


def _refused(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    now_wall: float,
    what: str,
    *,
    request_id: str | None = None,
    sent: bool = False,
) -> Retry | Failed | Suspect:
    """Return what an error status means. `sent`: the operation itself was accepted earlier."""
    retryable = retryable_status(status, headers)
    error = status_error(
        status,
        headers,
        body,
        what,
        request_id=request_id,
        # A request refused as such, or not taken at all, had no effect; behind anything else the server may have done
        # it.
        outcome="unknown" if sent or status in _GONE or (retryable and status not in _NOT_TAKEN) else "not_applied",
    )
    if status in _GONE:
        return Suspect(error)
    if retryable:
        limit = CONFLICT_RETRIES if status == _CONFLICT else None
        return Retry(_kind(status), error, retry_after(headers, now_wall), limit)
    if status == _BAD_REQUEST and not body.strip():
        return Retry("transient", error, None, SPURIOUS_400S)
    return Failed(error)


def _kind(status: int) -> Literal["transient", "throttle"]:
    return "throttle" if status == _TOO_MANY_REQUESTS else "transient"


def _finished_or_not(
    status: int, headers: Mapping[str, str], body: bytes, request_id: str, now_wall: float, read: Read
) -> PollOutcome:
    """Return what a success means. Nearly all are the result, and it is read but once; what is none tells why."""
    content_type = media_type(headers) or JSON
    try:
        return Done(read(content_type, body))
    except APIResponseValidationError as unreadable:
        signals = None if "protobuf" in content_type else read_signals(body)
        if signals is not None:
            word = word_of(signals)
            if word == "later":
                return _try_later(signals, headers, now_wall)
            if word == "too_large":
                return FetchFull(signals.response_payload_size)
            if says_failure(signals):
                return Failed(failure(signals, request_id))
        error = unreadable
        if is_html(content_type, body):
            error = not_understood(status, headers, body, "retrieve_future")
        error.request_id, error.status_code = request_id, status
        return Unreadable(bare(error))


def _try_later(signals: Signals | None, headers: Mapping[str, str], now_wall: float) -> TryLater:
    after = retry_after(headers, now_wall)
    if signals is None:
        return TryLater(after=after)
    said = milliseconds(signals.retry_after_ms)
    return TryLater(
        _text_or_none(signals.queue_state),
        _text_or_none(signals.queue_state_reason),
        after if said is None else said,
    )


def _text_or_none(value: Any) -> str | None:
    return without_secrets(value) if isinstance(value, str) else None


def _poll_refused(
    headers: Mapping[str, str], body: bytes, request_id: str, now_wall: float, spurious_400s: int
) -> Retry | Failed:
    """Return what a 400 on a poll means: a proxy's mistake, or a failed operation."""
    detail = detail_text(json_body(body))
    if detail is not None:
        return Failed(RequestFailedError(detail, request_id=request_id, status_code=_BAD_REQUEST, category="unknown"))
    what = "The operation"
    error = status_error(_BAD_REQUEST, headers, body, what, outcome="unknown", request_id=request_id)
    spurious = not body.strip() or is_html(media_type(headers), body)
    if spurious and spurious_400s < SPURIOUS_400S:
        return Retry("transient", error, retry_after(headers, now_wall), SPURIOUS_400S)
    return Failed(error)
