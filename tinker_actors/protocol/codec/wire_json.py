"""Codec: JSON in both directions.

Numbers leave as the wire wants them: no nulls in requests (strict servers refuse some), arrays as flat lists with
dtype and shape. What comes in is checked against its type, and a mismatch becomes one error of ours. It is read no more
strictly than the official client reads it: an operation must not fail because of how its result was spelled.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np

from tinker_actors.errors import APIResponseValidationError, InvalidInputError
from tinker_actors.secrets import holds_secret, may_hold_secret
from tinker_actors.types.tensors import TensorData

T = TypeVar("T")


def _encode_special(value: Any) -> Any:
    if isinstance(value, TensorData):
        fields: dict[str, Any] = {"data": value.data, "dtype": value.dtype}
        if value.shape is not None:
            fields["shape"] = value.shape
        if value.sparse_crow_indices is not None:
            fields["sparse_crow_indices"] = value.sparse_crow_indices
            fields["sparse_col_indices"] = value.sparse_col_indices
        return fields
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise InvalidInputError(f"{type(value).__name__} has no JSON form on this wire.")


UNREADABLE = (ValueError, RecursionError)
"""What decoding JSON may raise: it is none, or of another form, or no Unicode, or nested too deeply."""

_ENCODER = msgspec.json.Encoder(enc_hook=_encode_special)


def encode(value: Any) -> bytes:
    """Encode a value as JSON, nulls included. Arrays and tensors are allowed anywhere in it. Thread-safe.

    Raises:
        InvalidInputError: an object without a JSON form, text that is no Unicode, or a dict that contains itself.
    """
    try:
        return _ENCODER.encode(value)
    except (UnicodeEncodeError, RecursionError) as error:
        raise InvalidInputError(f"What was given has no JSON form: {error}.") from error


def encode_body(body: msgspec.Struct) -> bytes:
    """Encode a request body as JSON with every null dropped, however deep. Thread-safe."""
    return encode(without_nulls(msgspec.to_builtins(body, enc_hook=_encode_special)))


def without_nulls(value: Any) -> Any:
    """Return builtins with the null entries of every dict left out; nulls in lists mean something and stay."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def _decode_special(kind: type[Any], value: Any) -> Any:
    if kind is TensorData and isinstance(value, dict):
        return TensorData(
            value.get("data"),
            dtype=value.get("dtype") or "float32",
            shape=value.get("shape"),
            sparse_crow_indices=value.get("sparse_crow_indices"),
            sparse_col_indices=value.get("sparse_col_indices"),
        )
    raise ValueError(f"expected a {kind.__name__}, got {type(value).__name__}")


# A surrogate without its other half is no Unicode: it can be neither printed nor sent.
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class Reader(Generic[T]):
    """Reads JSON into one type; unknown fields are ignored. Thread-safe.

    The strict and fast parser goes first. What it refuses is read once more as the official client's parser does: with
    bare `NaN` and `Infinity`, with a byte-order mark, in UTF-16 or UTF-32, and with numbers written as text.

    Args:
        kind: the type, as msgspec understands it.
        names: the fields that hold names the server gave to things, or lists of them. They are shown and sent back, so
            one in which a secret of this process stands is refused.
    """

    __slots__ = ("_decoder", "_kind", "_names")

    def __init__(self, kind: type[T], *names: str) -> None:
        self._kind = kind
        self._names = names
        self._decoder = msgspec.json.Decoder(kind, dec_hook=_decode_special)

    def read(self, content: bytes) -> T:
        """Return the value.

        Raises:
            ValueError: no JSON, or not of that type. It may also be one of the others in `UNREADABLE`.
        """
        try:
            read = self._decoder.decode(content)
        except UNREADABLE as refusal:
            try:
                value = json.loads(content)
            except UNREADABLE:
                raise refusal from None
            read = msgspec.convert(_as_unicode(value), self._kind, strict=False, dec_hook=_decode_special)
            doubtful = True  # in whatever encoding it came
        else:
            doubtful = bool(self._names) and may_hold_secret(content)
        if doubtful:
            for name in self._names:
                refuse_secret(name, getattr(read, name))
        return read


def refuse_secret(field: str, given: str | list[str] | msgspec.UnsetType | None) -> None:
    """Refuse a name, or names, that a server gave to things and in which a secret of this process stands.

    Raises:
        ValueError: it does.
    """
    if given and holds_secret(given if isinstance(given, str) else "\n".join(given)):
        raise ValueError(f"a secret of this process stands in its {field}")


def _as_unicode(value: Any) -> Any:
    """Return a JSON value with a question mark in place of every half of a surrogate pair."""
    text = json.dumps(value, ensure_ascii=False)
    return json.loads(_SURROGATE.sub("?", text)) if _SURROGATE.search(text) else value


def decode(content: bytes, kind: type[T], *, what: str = "answer") -> T:
    """Decode JSON into `kind` once; see `Reader`. Thread-safe.

    Raises:
        APIResponseValidationError: not JSON, or not of that shape; the message names `what` and the place.
    """
    try:
        return Reader(kind).read(content)
    except UNREADABLE as error:
        raise not_of_that_shape(content, what, error) from error


def not_of_that_shape(content: bytes, what: str, why: object) -> APIResponseValidationError:
    """Return the error for an answer that can't be read, or contradicts itself.

    Args:
        content: the answer.
        what: what it is the answer to, or of.
        why: what is wrong with it.
    """
    return APIResponseValidationError(
        f"The server's {what} can't be understood: {why}. It begins with {preview(content)}."
    )


def preview(content: bytes, limit: int = 120) -> str:
    """Return the beginning of a body for an error message, on one line."""
    text = content[:limit].decode("utf-8", "replace")
    return repr(" ".join(text.split()) + ("..." if len(content) > limit else ""))


def base64_text(data: bytes) -> str:
    """Return bytes as the wire's base64 (standard alphabet, padded)."""
    return base64.b64encode(data).decode("ascii")
