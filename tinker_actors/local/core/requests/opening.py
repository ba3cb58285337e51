"""Opening: large bodies unpacked, counted and read before their request is handled, on any thread.

Reading megabytes takes a second, and the thread that handles requests has none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from tinker_actors.local.core.limits import Limits
from tinker_actors.local.core.models.submitting import Numbered
from tinker_actors.local.core.requests.dialects import sent_in_protobuf
from tinker_actors.local.core.requests.intake import (
    SMALL_BYTES,
    Bounds,
    bounds_of,
    endpoint_of,
    require_few,
    require_size,
)
from tinker_actors.local.core.requests.messages import CoreRequest, RefusedError
from tinker_actors.local.core.requests.numbers import digest_of_content
from tinker_actors.local.core.requests.reading import (
    MESSAGE,
    PASS,
    encoding_of,
    read,
    read_message,
    read_pass,
    unpacked,
)
from tinker_actors.local.core.samples.sample_tasks import WholeSampleRequest
from tinker_actors.protocol.codec.protobuf.counting import TooManyPartsError, require_few_parts
from tinker_actors.types.wire import ForwardBackwardRequest, ForwardRequest

_KINDS: dict[str, type[Any]] = {
    "asample": WholeSampleRequest,
    "stream_sample": WholeSampleRequest,
    "forward": ForwardRequest,
    "forward_backward": ForwardBackwardRequest,
}
"""The endpoints whose bodies may be so large that reading them takes long, and what they are read as."""


def is_heavy(request: CoreRequest) -> bool:
    """Return whether opening a request may take long."""
    return len(request.body) > SMALL_BYTES or encoding_of(request) != ""


def opened(request: CoreRequest, limits: Limits) -> CoreRequest:
    """Return a request with its body unpacked and, if it is large, counted and read. For any thread.

    What can't be read is told to whoever asks for it: the place of a refused number is held by the handler.

    Raises:
        RefusedError: 413 too large, 415 for an encoding that is not known, 400 for one that is broken.
    """
    bounds = bounds_of(request.path, limits)
    require_size(len(request.body), bounds)
    body = unpacked(request, bounds.size)
    if len(body) <= SMALL_BYTES:
        return CoreRequest(request.method, request.path, request.headers, body, {})
    endpoint = endpoint_of(request.path)
    found = CoreRequest(request.method, request.path, request.headers, body, {}, digest_of_content(request.path, body))
    kind = _KINDS.get(endpoint)
    if sent_in_protobuf(request):
        if endpoint == "forward_backward":
            return _with(found, _read_protobuf(found, bounds, limits))
    elif kind is None:
        require_few(body, bounds)
    else:
        return _with(found, _read_json(found, kind, bounds))
    return found


def _read_json(request: CoreRequest, kind: type[Any], bounds: Bounds) -> dict[object, Any]:
    def whole() -> Any:
        require_few(request.body, bounds)
        return read(request, kind)

    found = _outcome(whole)
    if not isinstance(found, RefusedError):
        return {kind: found}
    return {kind: found, Numbered: _outcome(lambda: read(request, Numbered, nulls=False))}


def _read_protobuf(request: CoreRequest, bounds: Bounds, limits: Limits) -> dict[object, Any]:
    def whole() -> Any:
        try:
            require_few_parts(request.body, bounds.containers)
        except TooManyPartsError as error:
            raise RefusedError(413, f"The body can't be taken: {error}. Send it in several requests.") from error
        except ValueError as error:
            raise RefusedError(400, f"The body can't be read: {error}.") from error
        return read_message(request)

    message = _outcome(whole)
    if isinstance(message, RefusedError):
        return {MESSAGE: message}
    return {MESSAGE: message, PASS: _outcome(lambda: read_pass(request, message, limits.datums_per_request))}


def _with(request: CoreRequest, ahead: dict[object, Any]) -> CoreRequest:
    return msgspec.structs.replace(request, ahead=ahead)


def _outcome(read_it: Callable[[], Any]) -> Any:
    try:
        return read_it()
    except RefusedError as refusal:
        return refusal
