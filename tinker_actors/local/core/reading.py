"""Reading: request bodies into records, tolerantly.

The oldest clients send nulls for whatever was not set, and no `type`s. What fits the records as it is, is decoded in
one go; only what does not is looked at a second time without its nulls.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from tinker_actors.local.core.messages import CoreRequest, RefusedError
from tinker_actors.protocol import codec

T = TypeVar("T")

_DETAIL_LENGTH = 500


def read(request: CoreRequest, kind: type[T]) -> T:
    """Return the request's body as a record of `kind`; unknown fields are ignored.

    Raises:
        RefusedError: 415 for a body that is not plain JSON, 400 for broken JSON, 422 for JSON of another shape.
    """
    _require_json(request)
    try:
        return msgspec.json.decode(request.body, type=kind)
    except msgspec.ValidationError:
        return _read_without_nulls(request.body, kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError(400, f"The body is not valid JSON: {_shortened(error)}") from error


def _read_without_nulls(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.convert(codec.without_nulls(msgspec.json.decode(body)), kind)
    except msgspec.ValidationError as error:
        raise RefusedError(422, f"The body does not have the expected form: {_shortened(error)}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError(400, f"The body is not valid JSON: {_shortened(error)}") from error


def _require_json(request: CoreRequest) -> None:
    if "protobuf" in request.headers.get("content-type", ""):
        raise RefusedError(415, "This server reads JSON only; send application/json.")
    encoding = request.headers.get("content-encoding", "identity")
    if encoding not in ("", "identity"):
        raise RefusedError(415, f"This server does not read bodies with content-encoding {encoding[:40]!r}.")


def _shortened(error: Exception) -> str:
    return str(error)[:_DETAIL_LENGTH]
