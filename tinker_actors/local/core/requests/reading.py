"""Reading: request bodies into records, tolerantly, and out of the packing they came in.

The oldest clients send nulls for whatever was not set, and no `type`s. What fits the records as it is, is decoded in
one go; only what does not is looked at a second time without its nulls.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from tinker_actors.local.core.requests.dialects import sent_in_protobuf
from tinker_actors.local.core.requests.intake import SMALL_BYTES, too_large
from tinker_actors.local.core.requests.messages import CoreRequest, RefusedError
from tinker_actors.protocol.codec import wire_json
from tinker_actors.protocol.codec.protobuf import compression, serving
from tinker_actors.types.wire import ForwardBackwardRequest, ForwardRequest

T = TypeVar("T")

_DETAIL_LENGTH = 500
_LEAST, _MOST = -(2**63), 2**64 - 1
_LONG = b"0" * 19  # digits; an integer with fewer fits
_LONG_INTEGER = re.compile(rb"[\[:,\s]-?[0-9]{19,}[\],}\s]")
_DIGITS = bytes.maketrans(b"123456789", b"000000000")

MESSAGE = "message"
"""What `read_message` returns, among what was read ahead of a request."""

PASS = "pass"  # noqa: S105 - a name, not a secret
"""What `read_pass` returns, likewise."""


def encoding_of(request: CoreRequest) -> str:
    """Return how a request's body is compressed; empty for not at all."""
    encoding = request.headers.get("content-encoding", "").strip().lower()
    return "" if encoding == "identity" else encoding


def unpacked(request: CoreRequest, limit: int) -> bytes:
    """Return a request's body as it was before it was compressed.

    Args:
        request: the request.
        limit: most bytes that a compressed body may have unpacked.

    Raises:
        RefusedError: 413 for a larger one, 415 for another encoding than zstd, 400 for broken zstd.
    """
    encoding = encoding_of(request)
    if not encoding or not request.body:
        return request.body
    if encoding != compression.ENCODING:
        raise RefusedError(415, f"This server does not read bodies with content-encoding {encoding[:40]!r}.")
    try:
        return compression.decompress_zstd(request.body, limit)
    except compression.BodyTooLargeError as error:
        raise too_large(limit) from error
    except ValueError as error:
        raise RefusedError(400, f"The body can't be unpacked: {_shortened(error)}.") from error


def read_message(request: CoreRequest) -> Any:
    """Return the protobuf message of a forward or forward_backward, for `read_pass`.

    Raises:
        RefusedError: 400, there is none.
    """
    if request.ahead and MESSAGE in request.ahead:
        return _or_raised(request.ahead[MESSAGE])
    try:
        return serving.parse_forward_backward_request(request.body)
    except ValueError as error:
        raise RefusedError(400, f"The body can't be read: {_shortened(error)}.") from error


def read_pass(request: CoreRequest, message: Any, most: int) -> ForwardBackwardRequest | ForwardRequest:
    """Return the record that the same request in JSON gives, with arrays in place of lists.

    Args:
        request: the request.
        message: its message.
        most: how many datums it may have.

    Raises:
        RefusedError: 400 for too many datums, 422 for a message that contradicts itself.
    """
    if request.ahead and PASS in request.ahead:
        record: ForwardBackwardRequest | ForwardRequest = _or_raised(request.ahead[PASS])
        return record
    require_datums(len(message.data), most)
    try:
        return serving.forward_backward_request(message)
    except ValueError as error:
        raise RefusedError(422, f"The body does not have the expected form: {_shortened(error)}.") from error


def require_datums(count: int, most: int) -> None:
    """Check how many datums a request has.

    Raises:
        RefusedError: 400, too many.
    """
    if count > most:
        raise RefusedError(400, f"The request has {count} datums; this server takes at most {most}.")


def read(request: CoreRequest, kind: type[T], *, nulls: bool = True) -> T:
    """Return the request's body as a record of `kind`; unknown fields are ignored.

    Args:
        request: the request.
        kind: what to read it as.
        nulls: whether fields may be null that must not be. To leave those out the whole body is built, so it has to
            have been counted.

    Raises:
        RefusedError: 415 for protobuf, 400 for broken JSON, 422 for JSON of another shape, or with an integer that
            fits in no 64 bits: nothing behind this has to expect one.
    """
    if request.ahead and kind in request.ahead:
        record: T = _or_raised(request.ahead[kind])
        return record
    if sent_in_protobuf(request):
        raise RefusedError(415, "This request is read in JSON only; send application/json.")
    record = _read(request.body, kind, nulls)
    # The first search is quick, and ends it for nearly all bodies, which may be large; long decimals pass it.
    if _LONG in request.body.translate(_DIGITS) and _LONG_INTEGER.search(request.body):
        for place, value in _values(record):
            if isinstance(value, int) and not _LEAST <= value <= _MOST:
                raise RefusedError(422, f"The integer at {place[:_DETAIL_LENGTH]} does not fit in 64 bits.")
    return record


def _read(body: bytes, kind: type[T], nulls: bool) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        if not nulls:
            raise _of_another_form(error, body) from error
        return _read_without_nulls(body, kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _not_json(error, body) from error


def _read_without_nulls(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.convert(wire_json.without_nulls(msgspec.json.decode(body)), kind)
    except msgspec.ValidationError as error:
        raise _of_another_form(error, body) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _not_json(error, body) from error


def _of_another_form(error: Exception, body: bytes) -> RefusedError:
    place = _place_of_no_number(body) if "out of range" in str(error) else None
    why = _shortened(error) if place is None else f"the number at {place} is too large"
    return RefusedError(422, f"The body does not have the expected form: {why}")


def _not_json(error: Exception, body: bytes) -> RefusedError:
    place = _place_of_no_number(body)
    why = _shortened(error) if place is None else f"the number at {place} is not finite"
    return RefusedError(400, f"The body is not valid JSON: {why}")


def _place_of_no_number(body: bytes) -> str | None:
    """Return where a body has a number that is not finite, written as such or too large; None if nowhere.

    msgspec does not say where it is. A large body is not read again for that.
    """
    if len(body) > SMALL_BYTES:
        return None
    try:
        whole = json.loads(body)
    except (ValueError, RecursionError):
        return None
    places = (place for place, value in _values(whole) if isinstance(value, float) and not math.isfinite(value))
    return next((place[:_DETAIL_LENGTH] for place in places), None)


def _values(record: Any) -> Iterator[tuple[str, Any]]:
    """Yield all plain values in a record, each with where it is."""
    left = [("$", msgspec.to_builtins(record))]
    while left:
        place, value = left.pop()
        if isinstance(value, dict):
            left += [(f"{place}.{key}", part) for key, part in value.items()]
        elif isinstance(value, list):
            left += [(f"{place}[{index}]", part) for index, part in enumerate(value)]
        else:
            yield place, value


def _or_raised(found: Any) -> Any:
    if isinstance(found, RefusedError):
        raise found
    return found


def _shortened(error: Exception) -> str:
    return str(error)[:_DETAIL_LENGTH]
