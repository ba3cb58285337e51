"""Intake: how large a request's body may be, in bytes and in what they become, before anything is built from it.

A few bytes can become a lot: a list of two characters takes 64 bytes in memory, a message of two bytes a hundred. So
what is counted is what is built, by looking for the characters that begin it. Those inside of text are counted too.
"""

from __future__ import annotations

import msgspec
import numpy as np

from tinker_actors.local.core.limits import Limits
from tinker_actors.local.core.requests.messages import RefusedError

PREFIX = "/api/v1/"
"""Where the paths of all endpoints begin."""

SMALL_BYTES = 32 * 1024
"""Bodies up to this size are read where they arrive, and nothing is counted: they can't become much."""

PARTS_PER_DATUM = 64
"""Most fields, lists and objects of a request for training, for each datum that it may have. One with three tensors of
its own has 30."""

_CALL_CONTAINERS = 32_768
_TRAINING = frozenset({"forward", "forward_backward"})
_SAMPLING = frozenset({"asample", "stream_sample"})
_BLOCK = 2**20


class Bounds(msgspec.Struct, frozen=True):
    """How large a body may be.

    Attributes:
        size: bytes, as they arrive and unpacked.
        values: values in lists and objects.
        containers: lists and objects; in protobuf, fields.
    """

    size: int
    values: int
    containers: int


def endpoint_of(path: str) -> str:
    """Return the endpoint that a path leads to: what is below the prefix, without a query."""
    return path.partition("?")[0].removeprefix(PREFIX)


def bounds_of(path: str, limits: Limits) -> Bounds:
    """Return the bounds of a request to a path."""
    endpoint = endpoint_of(path)
    if endpoint in _TRAINING:
        return Bounds(limits.body_bytes, limits.body_values, PARTS_PER_DATUM * limits.datums_per_request)
    size = limits.sample_bytes if endpoint in _SAMPLING else limits.call_bytes
    return Bounds(min(size, limits.body_bytes), limits.body_values // 2, _CALL_CONTAINERS)


def require_size(size: int, bounds: Bounds) -> None:
    """Check how long a body is.

    Raises:
        RefusedError: 413, too long.
    """
    if size > bounds.size:
        raise too_large(bounds.size)


def too_large(limit: int) -> RefusedError:
    """Return the refusal of a body above the limit."""
    return RefusedError(413, f"The body is larger than this server's limit of {limit} bytes.")


def require_few(body: bytes, bounds: Bounds) -> None:
    """Check how much a JSON body would become.

    Raises:
        RefusedError: 413, too much.
    """
    values = containers = 0
    whole = np.frombuffer(body, np.uint8)
    for start in range(0, len(whole), _BLOCK):  # a block at a time, so that no thread waits long for this one
        counts = np.bincount(whole[start : start + _BLOCK], minlength=256)
        values += int(counts[ord(",")])
        containers += int(counts[ord("[")] + counts[ord("{")])
    if values > bounds.values or containers > bounds.containers:
        raise RefusedError(
            413,
            f"The body has about {values} values and {containers} lists and objects; this endpoint takes "
            f"{bounds.values} and {bounds.containers}. Send it in several requests.",
        )
