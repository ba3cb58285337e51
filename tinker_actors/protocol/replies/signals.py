"""Signals: what an answer with status 200 says beside or instead of a result.

The protocol's own words are few (wire protocol 3.11 and 5.2): `try_again`, `complete_metadata`, and an `error` with a
`category`. Independent servers say the same in words of their own; the tables here hold all that are known. A failure
in any of them is a failure: what has not succeeded must not look as if it had.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from tinker_actors.errors import Category, PrecedingOperationFailed, RequestFailedError, TinkerError
from tinker_actors.protocol.codec.wire_json import UNREADABLE, Reader
from tinker_actors.protocol.replies.error_replies import error_text

NOT_YET = frozenset({"pending", "queued", "running", "processing", "inprogress", "notready"})
"""What `status` or `state` says of an operation that is not over. All words here are compared as `plain_word` writes
them."""

FAILED = frozenset(
    {
        "failed", "failure", "error", "errored", "exception", "cancelled", "canceled", "aborted", "rejected", "refused",
        "killed", "crashed", "expired", "unsuccessful",
    }
)  # fmt: skip
"""What `status` or `state` says of an operation that is over and did not succeed."""

_FIRST_ERROR_STATUS = 400  # where `status` is that of HTTP, as in problem details (RFC 9457)

_FAILED_TYPES = ("fail", "error")
"""Parts of a `type` that names a failure: `RequestFailedResponse`, `request_failed`, `error`."""

_CATEGORIES: dict[str, Category] = {
    "user": "user",
    "usererror": "user",
    "client": "user",
    "clienterror": "user",
    "server": "server",
    "servererror": "server",
    "system": "server",
    "internal": "server",
    "internalerror": "server",
}

_NO_LETTER = re.compile(r"[^a-z0-9]+")


class Signals(msgspec.Struct, kw_only=True):
    """The fields of an answer that tell what it is. Everything else is skipped without being built.

    Attributes:
        type: the kind of result, or `try_again`, or of failure.
        status: a word about the operation, or a status as in HTTP.
        state: the same.
        success: False for a failure.
        ok: the same.
        error: the official word for a failure; that it is there counts, even with null.
        error_message: text of a failure.
        errors: texts of failures.
        exception: text of a failure.
        detail: FastAPI's word for one, and that of problem details.
        message: text for people, about a failure or not.
        category: whose failure it is.
        preceding_seq_id: the failed operation because of which this one was not applied.
        response_payload_size: bytes of a result that is too large to come unasked.
        queue_state: why the operation is not over.
        queue_state_reason: the server's sentence about it.
        retry_after_ms: when it wants to be asked again.
    """

    type: Any = msgspec.UNSET
    status: Any = None
    state: Any = None
    success: Any = None
    ok: Any = None
    error: Any = msgspec.UNSET
    error_message: Any = None
    errors: Any = None
    exception: Any = None
    detail: Any = None
    message: Any = None
    category: Any = None
    preceding_seq_id: Any = None
    response_payload_size: Any = None
    queue_state: Any = None
    queue_state_reason: Any = None
    retry_after_ms: Any = None


_SIGNALS = Reader(Signals)


def read_signals(body: bytes) -> Signals | None:
    """Return the telling fields of an answer, or None when it is no JSON object."""
    try:
        return _SIGNALS.read(body)
    except UNREADABLE:
        return None


def plain_word(value: Any) -> str:
    """Return a word in lower case and without anything but letters and digits; empty for what is no text."""
    return _NO_LETTER.sub("", value.lower()) if isinstance(value, str) else ""


Word = Literal["later", "too_large", "failed"]


def word_of(signals: Signals) -> Word | None:
    """Return what an answer says of its operation, or None when it claims nothing but to be a result.

    The order is the official client's: what says "try again" is that, whatever else it says.
    """
    status = plain_word(signals.status)
    words = {status, plain_word(signals.state)}
    if signals.type == "try_again" or not words.isdisjoint(NOT_YET):
        return "later"
    if status == "completemetadata" and type(signals.response_payload_size) is int:
        return "too_large"
    kind = plain_word(signals.type)
    if (
        signals.error is not msgspec.UNSET
        or signals.error_message
        or signals.errors
        or signals.exception
        or signals.detail
        or not words.isdisjoint(FAILED)
        or _is_error_status(signals.status)
        or signals.success is False
        or signals.ok is False
        or any(part in kind for part in _FAILED_TYPES)
    ):
        return "failed"
    return None


def _is_error_status(status: Any) -> bool:
    return type(status) is int and status >= _FIRST_ERROR_STATUS


def says_failure(signals: Signals) -> bool:
    """Return whether an answer is a failure, or says so beside what looks like a result."""
    return word_of(signals) == "failed"


def failure(signals: Signals, request_id: str | None) -> TinkerError:
    """Return the error for an operation that the server failed."""
    said = (
        signals.error,
        signals.error_message,
        signals.detail,
        signals.errors,
        signals.exception,
        signals.message,
    )
    text = next(filter(None, map(error_text, said)), "The server failed the operation without saying why.")
    if signals.preceding_seq_id is not None:
        return PrecedingOperationFailed(
            f"Not applied, because operation {signals.preceding_seq_id} before it failed: {text}",
            preceding_seq_id=signals.preceding_seq_id if type(signals.preceding_seq_id) is int else None,
            request_id=request_id,
            outcome="not_applied",
        )
    category = _category(signals)
    return RequestFailedError(text, request_id=request_id, category=category, retryable=category == "server")


def _category(signals: Signals) -> Category:
    said = signals.category
    if said is None and isinstance(signals.error, dict):
        said = signals.error.get("category")
    return _CATEGORIES.get(plain_word(said), "unknown")
