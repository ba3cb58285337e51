"""Polling: futures asked for, one by one or all of a sampler's, and cancelled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinker_actors.local.core.jobs import Failure
from tinker_actors.local.core.requests.dialects import wants_protobuf
from tinker_actors.local.core.requests.messages import Answer, CompletionsHold, CoreRequest, Hold, RefusedError, ok
from tinker_actors.local.core.requests.reading import read
from tinker_actors.local.core.samples.samplers import Sampler
from tinker_actors.types.wire import CancelFutureRequest, RetrieveFutureRequest, RetrieveFuturesRequest

if TYPE_CHECKING:
    from tinker_actors.local.core.state import CoreState


_FETCHED = "Its client has it."


def retrieve_future(core: CoreState, request: CoreRequest, now: float) -> Answer | Hold:
    """`POST retrieve_future`: the result, or a hold until there is one."""
    body = read(request, RetrieveFutureRequest)
    deadline = now + core.limits.hold_seconds
    hold = Hold(body.request_id, deadline, body.allow_metadata_only, wants_protobuf(request))
    return resume(core, hold, now) or hold


def resume(core: CoreState, hold: Hold, now: float) -> Answer | None:
    """Return the answer to a held poll, or None if it is to be held on."""
    if isinstance(hold, CompletionsHold):
        return _resume_completions(core, hold, now)
    answer = core.futures.poll(hold.request_id, allow_metadata_only=hold.allow_metadata_only, protobuf=hold.protobuf)
    if answer is None and now >= hold.deadline:
        return core.futures.not_yet(hold.request_id)
    return answer


def retrieve_futures(core: CoreState, request: CoreRequest, now: float) -> Answer | Hold:
    """`POST retrieve_futures`: which of a sampler's samples are over, or a hold until one is."""
    body = read(request, RetrieveFuturesRequest)
    target = body.target
    sampler = core.sampler(target.sampling_session_id)
    seconds = core.limits.hold_seconds if body.timeout is None else min(body.timeout, core.limits.hold_seconds)
    completions = sampler.completions_of(target.cloned_sampler_id)
    completions.asked = True
    completions.trim(body.prev_cursor)
    hold = CompletionsHold(
        request_id=completions.name,
        deadline=now + seconds,
        allow_metadata_only=False,
        sampler_id=sampler.sampler_id,
        clone=target.cloned_sampler_id,
        cursor=body.prev_cursor,
    )
    for request_id in body.retrieved_request_ids:
        _let_go(core, sampler, request_id)
    return resume(core, hold, now) or hold


def _resume_completions(core: CoreState, hold: CompletionsHold, now: float) -> Answer | None:
    found, cursor = core.sampler(hold.sampler_id).completions_of(hold.clone).after(hold.cursor)
    if not found and now < hold.deadline:
        return None
    return ok({"type": "retrieve_futures", "completions": found, "cursor": cursor})


def _let_go(core: CoreState, sampler: Sampler, request_id: str) -> None:
    """Drop a result that its client says it has, if it is one of this sampler's session."""
    future = core.futures.get(request_id)
    if future is None or future.session_id != sampler.session_id:
        return
    if future.kind == "sample" and future.state == "finished":
        core.futures.drop(request_id, _FETCHED)


def cancel_future(core: CoreState, request: CoreRequest, _now: float) -> Answer:
    """`POST cancel_future`: a sample nobody wants. One that is decided already stays as it is."""
    future = core.futures.find(read(request, CancelFutureRequest).request_id)
    if future.kind != "sample":
        raise RefusedError(400, f"Only samples can be cancelled; {future.request_id} is {future.kind}.")
    cancelled = future.state == "pending"
    core.futures.settle(future, Failure("The sample was cancelled by its client.", "user"))
    return ok({"type": "cancel_future", "request_id": future.request_id, "cancelled": cancelled})
