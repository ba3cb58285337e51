"""Schema: the message classes, made on first use.

They live in a pool of their own. In protobuf's default pool they would stand beside those of the official SDK, and
whichever was registered second would be refused.
"""

from __future__ import annotations

import base64
import functools
from typing import Any

import msgspec

from tinker_actors.loading import load
from tinker_actors.protocol.codec.protobuf.descriptor import FILE_DESCRIPTOR

PACKAGE = "tinker_actors.wire"

STOP, LENGTH = 0, 1
FLOAT32, INT64, INT32, BFLOAT16 = 1, 2, 3, 4


class Messages(msgspec.Struct, frozen=True):
    """The message classes that this package uses by name, and the error of one that can't be parsed.

    Attributes:
        decode_error: what `FromString` raises.
    """

    ForwardBackwardRequest: Any
    ForwardBackwardOutput: Any
    SampleResponse: Any
    decode_error: type[Exception]


@functools.cache
def messages() -> Messages:
    """Return the message classes. Thread-safe; the first call imports protobuf."""
    load("google.protobuf.descriptor_pool", "google.protobuf.message", "google.protobuf.message_factory")
    from google.protobuf import (  # type: ignore[import-untyped]  # noqa: PLC0415 - 10 ms that most processes save
        descriptor_pool,
        message,
        message_factory,
    )

    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(base64.b64decode(FILE_DESCRIPTOR))

    def class_of(name: str) -> Any:
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))

    return Messages(
        ForwardBackwardRequest=class_of("ForwardBackwardRequest"),
        ForwardBackwardOutput=class_of("ForwardBackwardOutput"),
        SampleResponse=class_of("SampleResponse"),
        decode_error=message.DecodeError,
    )
