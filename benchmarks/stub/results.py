"""Results: whole HTTP answers, prepared beforehand in both dialects.

The protobuf messages are put together by hand: the stub is to start fast and to need nothing of the package that is
measured.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from benchmarks.workloads import Answer

_JSON, _PROTOBUF = b"application/json", b"application/x-protobuf"
_VARINT, _BYTES = 0, 2
_STOP_REASON_LENGTH = 1


class Result(NamedTuple):
    """What `retrieve_future` answers, in both dialects; `size` is that of the protobuf message in bytes."""

    json: bytes
    protobuf: bytes
    size: int


def reply(body: bytes, status: bytes = b"200 OK", kind: bytes = _JSON) -> bytes:
    """Return a whole HTTP answer."""
    return b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (status, kind, len(body), body)


def sample_result(answer: Answer) -> Result:
    """Return the result of a sample."""
    sequences = list(zip(answer.tokens, answer.logprobs, strict=True))
    named = [{"stop_reason": "length", "tokens": tokens, "logprobs": logprobs} for tokens, logprobs in sequences]
    return _result(
        msgspec.json.encode({"type": "sample", "sequences": named}),
        b"".join(_field(1, _sequence(tokens, logprobs)) for tokens, logprobs in sequences),
    )


def _sequence(tokens: Sequence[int], logprobs: Sequence[float]) -> bytes:
    return b"".join(
        (
            _number(1, _STOP_REASON_LENGTH),
            _field(2, array("i", tokens).tobytes()),
            _field(3, array("f", logprobs).tobytes()),
        )
    )


def _result(spoken: bytes, message: bytes) -> Result:
    return Result(reply(spoken), reply(message, kind=_PROTOBUF), len(message))


def _key(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _number(number: int, value: int) -> bytes:
    return _key(number, _VARINT) + _varint(value)


def _field(number: int, value: bytes) -> bytes:
    return _key(number, _BYTES) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)
