"""Polling: futures asked for and cancelled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinker_actors.local.core.jobs import Failure
from tinker_actors.local.core.messages import Answer, CoreRequest, Hold, RefusedError, ok
from tinker_actors.local.core.reading import read
from tinker_actors.types.wire import CancelFutureRequest, RetrieveFutureRequest

if TYPE_CHECKING:
    from tinker_actors.local.core.state import CoreState


def retrieve_future(core: CoreState, request: CoreRequest, now: float) -> Answer | Hold:
    """`POST retrieve_future`: the result, or a hold until there is one."""
    body = read(request, RetrieveFutureRequest)
    hold = Hold(body.request_id, now + core.limits.hold_seconds, body.allow_metadata_only)
    return resume(core, hold, now) or hold


def resume(core: CoreState, hold: Hold, now: float) -> Answer | None:
    """Return the answer to a held poll, or None if it is to be held on."""
    answer = core.futures.poll(hold.request_id, allow_metadata_only=hold.allow_metadata_only)
    if answer is None and now >= hold.deadline:
        return core.futures.not_yet(hold.request_id)
    return answer


def cancel_future(core: CoreState, request: CoreRequest, _now: float) -> Answer:
    """`POST cancel_future`: a sample nobody wants. One that is decided already stays as it is."""
    future = core.futures.find(read(request, CancelFutureRequest).request_id)
    if future.kind != "sample":
        raise RefusedError(400, f"Only samples can be cancelled; {future.request_id} is {future.kind}.")
    cancelled = future.state == "pending"
    core.futures.settle(future, Failure("The sample was cancelled by its client.", "user"))
    return ok({"type": "cancel_future", "request_id": future.request_id, "cancelled": cancelled})
