"""Messages: what goes into the core and what comes out.

They are plain records, so that a simulation can build, delay and duplicate them without knowing HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tinker_actors.protocol.codec import wire_json

NO_RETRY = ("x-should-retry", "false")
"""Tells clients that the same request would be refused again (wire protocol 7.1)."""

_JSON = ("content-type", "application/json")


class CoreRequest(msgspec.Struct, frozen=True, eq=False):
    """One request.

    Attributes:
        method: `"GET"`, `"POST"`, ...
        path: absolute path, percent-encoded, with or without a query.
        headers: names in lower case.
        body: the whole body; empty for none.
        ahead: what was read of the body before, by what it was read as; a refusal for what could not be. None for a
            body as it arrived, see `opening`.
        digest: of path and body, if it was made before.
    """

    method: str
    path: str
    headers: Mapping[str, str] = {}
    body: bytes = b""
    ahead: Mapping[object, Any] | None = None
    digest: bytes = b""

    def __repr__(self) -> str:
        return f"<CoreRequest {self.method} {self.path}>"  # no headers: a key is among them


class Attachment(msgspec.Struct, frozen=True):
    """A file that is the body of an answer, in whole or, where the request has a `Range`, in part.

    Attributes:
        path: the checkpoint whose archive it is.
        uid: the checkpoint's uid.
        name: what to call it.
    """

    path: str
    uid: str
    name: str


class Answer(msgspec.Struct, frozen=True):
    """The answer to a request.

    Attributes:
        status: the HTTP status.
        body: the whole body; JSON where the headers don't say otherwise.
        headers: names in lower case, and values.
        attachment: what the body is instead, or None.
    """

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = (_JSON,)
    attachment: Attachment | None = None


class Hold(msgspec.Struct, frozen=True):
    """No answer yet: ask again with `ServiceCore.resume` when the future is decided or the deadline is there.

    Attributes:
        request_id: the future that is waited for.
        deadline: when to answer "not yet", on the clock that `now` is read from.
        allow_metadata_only: whether a large result may be announced instead of sent.
        protobuf: whether a result that has that form is wanted in it.
    """

    request_id: str
    deadline: float
    allow_metadata_only: bool
    protobuf: bool = False


class CompletionsHold(Hold, frozen=True, kw_only=True):
    """No sample of a sampler's client has ended yet; `request_id` names its completions.

    Attributes:
        sampler_id: the sampler.
        clone: which of its clients asks.
        cursor: how far that client has been told.
    """

    sampler_id: str
    clone: int
    cursor: int


class RefusedError(Exception):
    """A request is answered with an error status. Raised by handlers, turned into an answer at the core's door.

    Args:
        status: the HTTP status.
        detail: what is wrong, for people.
        headers: further headers of the answer.
    """

    def __init__(self, status: int, detail: str, *headers: tuple[str, str]) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers

    def answer(self) -> Answer:
        """Return the answer that says so."""
        return Answer(self.status, wire_json.encode({"detail": self.detail}), (_JSON, *self.headers))


def ok(value: Any) -> Answer:
    """Return a successful answer with a JSON value or struct as its body."""
    return Answer(200, wire_json.encode(value))
