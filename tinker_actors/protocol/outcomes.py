"""Outcomes: what an answer means for the operation behind it.

Pure: status, headers and body in, one of a few records out. What follows from it (waiting, asking the session,
settling a future) is decided by whoever sent the request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from tinker_actors.errors import (
    APIConnectionError,
    APITimeoutError,
    Category,
    PrecedingOperationFailed,
    RequestFailedError,
    TinkerError,
)
from tinker_actors.protocol.codec import UNREADABLE
from tinker_actors.protocol.error_replies import (
    CHECK_BASE_URL,
    detail_text,
    is_html,
    json_body,
    media_type,
    not_understood,
    status_error,
)
from tinker_actors.protocol.retry import retry_after, retryable_status
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
_REQUEST_TIMEOUT = 408
_CONFLICT = 409
_TOO_MANY_REQUESTS = 429
_INTERNAL_SERVER_ERROR = 500
_GONE = frozenset({404, 410})

_PERMANENT_BREAKS = frozenset({"protocol", "too_large"})
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


class Done(msgspec.Struct, frozen=True):
    """The final result, not decoded yet.

    Attributes:
        content_type: media type in lower case, without parameters; JSON where the server says nothing.
        body: the result's bytes.
    """

    content_type: str
    body: bytes


class TryLater(msgspec.Struct, frozen=True):
    """Not finished: poll again.

    Attributes:
        queue_state: `"active"`, `"paused_capacity"`, `"paused_rate_limit"`, or None when not said.
        queue_state_reason: the server's sentence about it.
    """

    queue_state: str | None = None
    queue_state_reason: str | None = None


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
PollOutcome = Done | TryLater | FetchFull | Retry | Failed | Suspect
ReplyOutcome = Done | Retry | Failed | Suspect


class _Signals(msgspec.Struct):
    """The fields of a poll's JSON that tell what it means. Everything else is skipped without being built."""

    type: Any = None
    status: Any = None
    response_payload_size: Any = None
    error: Any = msgspec.UNSET  # the key's presence counts, even with null
    category: Any = None
    preceding_seq_id: Any = None
    queue_state: Any = None
    queue_state_reason: Any = None


# Without one of these strings (and without an escape that could spell one) no JSON object means anything but a result.
_TELLING = re.compile(rb'"(?:error|try_again|pending|complete_metadata)"')
_WORTH_A_LOOK = 1024  # bytes; parsing less than this costs no more than looking

_SIGNALS = msgspec.json.Decoder(_Signals)
_FUTURE = msgspec.json.Decoder(UntypedAPIFuture)


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
        future = _FUTURE.decode(body)
    except UNREADABLE:
        return Retry("transient", not_understood(status, headers, body, what), None, UNREADABLE_RETRIES)
    return Accepted(future.request_id, future.model_id, future.sample_sequence_ids)


def reply_outcome(status: int, headers: Mapping[str, str], body: bytes, now_wall: float, what: str) -> ReplyOutcome:
    """Return what the answer of a plain request-and-response endpoint means.

    Args:
        status: the HTTP status.
        headers: the answer's headers, names in lower case.
        body: the answer's body.
        now_wall: wall clock, seconds since 1970, for a `Retry-After` date.
        what: the endpoint's name, for messages.
    """
    if status not in _SUCCESS:
        return _refused(status, headers, body, now_wall, what)
    content_type = media_type(headers) or JSON
    if is_html(content_type, body):
        return Failed(not_understood(status, headers, body, what))
    return Done(content_type, body)


def poll_outcome(
    status: int, headers: Mapping[str, str], body: bytes, request_id: str, now_wall: float, spurious_400s: int
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
    """
    if status in _SUCCESS:
        return _finished_or_not(status, headers, body, request_id)
    if status == _REQUEST_TIMEOUT:
        return _try_later(_decode_signals(body))
    if status == _BAD_REQUEST and not retryable_status(status, headers):
        return _poll_refused(headers, body, request_id, now_wall, spurious_400s)
    return _refused(status, headers, body, now_wall, "The operation", request_id=request_id, sent=True)


def broken_outcome(kind: str, phase: str, message: str, sent: bool, what: str) -> Retry | Failed:
    """Return what it means that no complete answer came.

    Args:
        kind: `"connect"`, `"tls"`, `"timeout"`, `"reset"`, `"closed"`, `"protocol"` or `"too_large"`.
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
        advice=CHECK_BASE_URL if phase == "connect" or permanent else None,
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
        # A request refused as such had no effect; behind anything else the server may have done it.
        outcome="unknown" if sent or retryable or status in _GONE else "not_applied",
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


def _finished_or_not(status: int, headers: Mapping[str, str], body: bytes, request_id: str) -> PollOutcome:
    content_type = media_type(headers) or JSON
    if "protobuf" in content_type:
        return Done(content_type, body)
    if len(body) > _WORTH_A_LOOK and _is_plainly_a_result(body):
        return Done(content_type, body)
    signals = _decode_signals(body)
    if signals is None:
        unreadable = not_understood(status, headers, body, "retrieve_future", request_id=request_id)
        return Retry("transient", unreadable, None, UNREADABLE_RETRIES)
    if signals.type == "try_again" or signals.status == "pending":
        return _try_later(signals)
    if signals.status == "complete_metadata" and type(signals.response_payload_size) is int:
        return FetchFull(signals.response_payload_size)
    if signals.error is not msgspec.UNSET:
        return Failed(_operation_failed(signals, request_id))
    return Done(content_type, body)


def _is_plainly_a_result(body: bytes) -> bool:
    """Return whether a JSON body can be told to be a result without parsing it: a quarter of the cost."""
    return body[:1] == b"{" and b"\\" not in body and _TELLING.search(body) is None


def _decode_signals(body: bytes) -> _Signals | None:
    """Return the telling fields, or None when the body is no JSON object."""
    try:
        return _SIGNALS.decode(body)
    except UNREADABLE:
        return None


def _try_later(signals: _Signals | None) -> TryLater:
    if signals is None:
        return TryLater()
    return TryLater(_text_or_none(signals.queue_state), _text_or_none(signals.queue_state_reason))


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _operation_failed(signals: _Signals, request_id: str) -> TinkerError:
    text = detail_text({"error": signals.error}) or "The server failed the operation without saying why."
    said = signals.category
    if said is None and isinstance(signals.error, dict):
        said = signals.error.get("category")
    if signals.preceding_seq_id is not None:
        return PrecedingOperationFailed(
            f"Not applied, because operation {signals.preceding_seq_id} before it failed: {text}",
            request_id=request_id,
            outcome="not_applied",
        )
    category: Category = said if said in ("user", "server") else "unknown"
    return RequestFailedError(text, request_id=request_id, category=category, retryable=category == "server")


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
