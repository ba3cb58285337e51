"""Streaming: a stream's events taken, or left behind by a reader who is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tinker_actors.local.core.jobs import Failure
from tinker_actors.local.core.samples.streams import Stream

if TYPE_CHECKING:
    from tinker_actors.local.core.state import CoreState

_DROPPED = "The stream is over."


def take_events(core: CoreState, stream: Stream) -> tuple[bytes, bool]:
    """Return the events of a stream since the last call, and whether they were the last ones."""
    future = stream.future
    if future.state == "pending":
        return stream.tokens.take(), False
    if future.state == "lost":
        stream.tokens.fail(future.gone)
    elif future.failed:
        stream.tokens.fail(msgspec.json.decode(future.body)["error"])
    _forget(core, stream)
    return stream.tokens.take(), True


def abandon(core: CoreState, stream: Stream) -> None:
    """Stop drawing for a stream that nobody reads any more, unless it is over."""
    core.futures.settle(stream.future, Failure("The stream's reader is gone.", "user"))
    _forget(core, stream)


def _forget(core: CoreState, stream: Stream) -> None:
    if core.futures.get(stream.request_id) is not None:
        core.futures.drop(stream.request_id, _DROPPED)
