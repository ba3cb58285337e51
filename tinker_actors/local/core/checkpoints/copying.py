"""Copying: a checkpoint of one's own from one that one may read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tinker_actors.local.core import ids
from tinker_actors.local.core.checkpoints.checkpointing import find_checkpoint
from tinker_actors.local.core.checkpoints.lifetimes import require_ttl
from tinker_actors.local.core.checkpoints.sponsoring import TOKEN_HEADER, sponsor_by
from tinker_actors.local.core.keeping import CheckpointExistsError, CheckpointMeta, RunRecord, SessionRecord
from tinker_actors.local.core.requests.messages import NO_RETRY, Answer, CoreRequest, RefusedError, ok
from tinker_actors.local.core.requests.numbers import require_number
from tinker_actors.local.core.requests.reading import read
from tinker_actors.types.checkpoints import CopyWeightsResponse
from tinker_actors.types.paths import SCHEME, ParsedCheckpointTinkerPath

if TYPE_CHECKING:
    from tinker_actors.local.core.state import CoreState


class CopyWeightsRequest(msgspec.Struct):
    """`POST copy_weights`: into a project, or under a number of a session's models."""

    source_path: str
    destination_project_id: str | None = None
    session_id: str | None = None
    model_seq_id: int | None = None
    ttl_seconds: int | None = None
    weights_access_token: str | None = None


def copy_weights(core: CoreState, request: CoreRequest, _now: float) -> Answer:
    """`POST copy_weights`: the same again under a session's number gives the same path."""
    body = read(request, CopyWeightsRequest)
    sponsor_by(core, request.headers.get(TOKEN_HEADER) or body.weights_access_token)
    require_ttl(body.ttl_seconds)
    if (body.session_id is None) != (body.model_seq_id is None):
        raise RefusedError(422, "session_id and model_seq_id go together.")
    if body.session_id is None or body.model_seq_id is None:
        return _copied(core, body, None)
    require_number("model_seq_id", body.model_seq_id)
    numbers = core.sessions.get(body.session_id).model_numbers
    earlier = numbers.replay(body.model_seq_id, request)
    if earlier is not None:
        return earlier
    answer = _copied(core, body, ids.model_id(body.session_id, body.model_seq_id))
    return numbers.record(body.model_seq_id, request, answer)


def _copied(core: CoreState, body: CopyWeightsRequest, run_id: str | None) -> Answer:
    source = find_checkpoint(core, body.source_path)
    run_id = run_id or ids.model_id(_add_session(core, body), 0)
    checkpoint_id = ParsedCheckpointTinkerPath.from_tinker_path(source.path).checkpoint_id
    meta = msgspec.structs.replace(
        source,
        path=f"{SCHEME}{run_id}/{checkpoint_id}",
        uid=core.new_id(),
        owner=core.caller.name,
        public=False,
        created_at=core.wall,
        ttl_seconds=body.ttl_seconds,
        expires_at=None if body.ttl_seconds is None else core.wall + body.ttl_seconds,
    )
    try:
        core.store.copy(source.path, meta)
    except CheckpointExistsError as error:
        raise RefusedError(409, str(error), NO_RETRY) from error
    _remember_run(core, run_id, meta)
    core.audit.note(core, core.caller.name, "checkpoint.copy", meta.path, source_path=source.path)
    return ok(CopyWeightsResponse(meta.path))


def _add_session(core: CoreState, body: CopyWeightsRequest) -> str:
    """Make a session, already finished, for a copy that belongs to none; its project is the copy's."""
    session_id = f"session-{core.new_id()}"
    core.catalog.put_session(
        SessionRecord(
            session_id=session_id,
            owner=core.caller.name,
            created_at=core.wall,
            project_id=body.destination_project_id,
            display_name="copied weights",
            status="client_finished",
            reason="success",
        )
    )
    return session_id


def _remember_run(core: CoreState, run_id: str, meta: CheckpointMeta) -> None:
    core.catalog.put_run(
        RunRecord(
            run_id=run_id,
            owner=meta.owner,
            base_model=meta.base_model,
            lora=meta.lora,
            created_at=core.wall,
            last_request_at=core.wall,
            user_metadata=meta.user_metadata,
        )
    )
