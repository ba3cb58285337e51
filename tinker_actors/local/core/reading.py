"""Reading: request bodies into records, tolerantly, and out of the packing they came in.

The oldest clients send nulls for whatever was not set, and no `type`s. What fits the records as it is, is decoded in
one go; only what does not is looked at a second time without its nulls.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from tinker_actors.local.core.dialects import sent_in_protobuf
from tinker_actors.local.core.messages import CoreRequest, RefusedError
from tinker_actors.protocol import codec
from tinker_actors.protocol.protobuf import compression, serving
from tinker_actors.types.wire import ForwardBackwardRequest, ForwardRequest

T = TypeVar("T")

_DETAIL_LENGTH = 500
_LEAST, _MOST = -(2**63), 2**64 - 1
_LONG = b"0" * 19  # digits; an integer with fewer fits
_LONG_INTEGER = re.compile(rb"[\[:,\s]-?[0-9]{19,}[\],}\s]")
_DIGITS = bytes.maketrans(b"123456789", b"000000000")


def unpacked(request: CoreRequest, limit: int) -> CoreRequest:
    """Return the request with its body as it was before it was compressed.

    Args:
        request: the request.
        limit: most bytes that a compressed body may have unpacked.

    Raises:
        RefusedError: 413 for a larger one, 415 for another encoding than zstd, 400 for broken zstd.
    """
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return request
    if encoding != compression.ENCODING:
        raise RefusedError(415, f"This server does not read bodies with content-encoding {encoding[:40]!r}.")
    try:
        body = compression.decompress_zstd(request.body, limit)
    except compression.BodyTooLargeError as error:
        raise too_large(limit) from error
    except ValueError as error:
        raise RefusedError(400, f"The body can't be unpacked: {_shortened(error)}.") from error
    return CoreRequest(request.method, request.path, request.headers, body)


def too_large(limit: int) -> RefusedError:
    """Return the refusal of a body above the limit."""
    return RefusedError(413, f"The body is larger than this server's limit of {limit} bytes.")


def read_message(request: CoreRequest) -> Any:
    """Return the protobuf message of a forward or forward_backward, for `read_pass`.

    Raises:
        RefusedError: 400, there is none.
    """
    try:
        return serving.parse_forward_backward_request(request.body)
    except ValueError as error:
        raise RefusedError(400, f"The body can't be read: {_shortened(error)}.") from error


def read_pass(message: Any) -> ForwardBackwardRequest | ForwardRequest:
    """Return the record that the same request in JSON gives, with arrays in place of lists.

    Raises:
        RefusedError: 422, the message contradicts itself.
    """
    try:
        return serving.forward_backward_request(message)
    except ValueError as error:
        raise RefusedError(422, f"The body does not have the expected form: {_shortened(error)}.") from error


def read(request: CoreRequest, kind: type[T]) -> T:
    """Return the request's body as a record of `kind`; unknown fields are ignored.

    Raises:
        RefusedError: 415 for protobuf, 400 for broken JSON, 422 for JSON of another shape, or with an integer that
            fits in no 64 bits: nothing behind this has to expect one.
    """
    if sent_in_protobuf(request):
        raise RefusedError(415, "This request is read in JSON only; send application/json.")
    record = _read(request.body, kind)
    # The first search is quick, and ends it for nearly all bodies, which may be large; long decimals pass it.
    if _LONG in request.body.translate(_DIGITS) and _LONG_INTEGER.search(request.body):
        for place, value in _values(record):
            if isinstance(value, int) and not _LEAST <= value <= _MOST:
                raise RefusedError(422, f"The integer at {place[:_DETAIL_LENGTH]} does not fit in 64 bits.")
    return record


def _read(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError:
        return _read_without_nulls(body, kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError(400, f"The body is not valid JSON: {_shortened(error)}") from error


def _read_without_nulls(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.convert(codec.without_nulls(msgspec.json.decode(body)), kind)
    except msgspec.ValidationError as error:
        raise RefusedError(422, f"The body does not have the expected form: {_shortened(error)}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError(400, f"The body is not valid JSON: {_shortened(error)}") from error


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


def _shortened(error: Exception) -> str:
    return str(error)[:_DETAIL_LENGTH]
