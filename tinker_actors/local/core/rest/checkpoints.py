"""REST: checkpoints, listed, deleted, published and given a time to live."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tinker_actors.errors import InvalidInputError
from tinker_actors.local.core.checkpoints.lifetimes import require_ttl
from tinker_actors.local.core.keeping import CheckpointMeta
from tinker_actors.local.core.requests.messages import NO_RETRY, Answer, CoreRequest, RefusedError, ok
from tinker_actors.local.core.requests.reading import read
from tinker_actors.local.core.rest.describing import checkpoint_of
from tinker_actors.local.core.rest.paging import page_of
from tinker_actors.types.checkpoints import CheckpointsListResponse
from tinker_actors.types.paths import SCHEME, ParsedCheckpointTinkerPath

if TYPE_CHECKING:
    from tinker_actors.local.core.state import CoreState

_CHECKPOINTS_PER_PAGE = 100


class TtlRequest(msgspec.Struct):
    """`PUT .../ttl`; null is for ever, and has to be said."""

    ttl_seconds: int | None


def list_user_checkpoints(core: CoreState, request: CoreRequest, _now: float) -> Answer:
    """`GET checkpoints`: of all the caller's runs."""
    page, cursor = page_of(request, core.catalog.own_checkpoints(core.wall), _CHECKPOINTS_PER_PAGE)
    return ok(CheckpointsListResponse([checkpoint_of(meta) for meta in page], cursor))


def delete_checkpoint(core: CoreState, _request: CoreRequest, _now: float, run_id: str, checkpoint_id: str) -> Answer:
    """`DELETE training_runs/{id}/checkpoints/{ckpt}`. Samplers that have its weights already go on."""
    meta = own_checkpoint(core, run_id, checkpoint_id)
    core.store.delete(meta.path)
    core.audit.note(core, core.caller.name, "checkpoint.delete", meta.path)
    return ok({"tinker_path": meta.path})


def publish_checkpoint(core: CoreState, _request: CoreRequest, _now: float, run_id: str, checkpoint_id: str) -> Answer:
    """`POST .../publish`: from now on every owner may read it."""
    meta = own_checkpoint(core, run_id, checkpoint_id)
    if meta.public:
        raise RefusedError(409, f"{meta.path} is public already.", NO_RETRY)
    core.store.update(msgspec.structs.replace(meta, public=True))
    core.audit.note(core, core.caller.name, "checkpoint.publish", meta.path)
    return ok({"tinker_path": meta.path, "public": True})


def unpublish_checkpoint(
    core: CoreState, _request: CoreRequest, _now: float, run_id: str, checkpoint_id: str
) -> Answer:
    """`DELETE .../publish`: from now on only its owner may read it; the same again changes nothing."""
    meta = own_checkpoint(core, run_id, checkpoint_id)
    if meta.public:
        core.store.update(msgspec.structs.replace(meta, public=False))
        core.audit.note(core, core.caller.name, "checkpoint.unpublish", meta.path)
    return ok({"tinker_path": meta.path, "public": False})


def set_ttl(core: CoreState, request: CoreRequest, _now: float, run_id: str, checkpoint_id: str) -> Answer:
    """`PUT .../ttl`: counted from now."""
    seconds = read(request, TtlRequest).ttl_seconds
    meta = own_checkpoint(core, run_id, checkpoint_id)
    require_ttl(seconds)
    expires = None if seconds is None else core.wall + seconds
    changed = msgspec.structs.replace(meta, ttl_seconds=seconds, expires_at=expires)
    core.store.update(changed)
    core.audit.note(core, core.caller.name, "checkpoint.ttl", meta.path, ttl_seconds=seconds)
    return ok(checkpoint_of(changed))


def own_checkpoint(core: CoreState, run_id: str, checkpoint_id: str) -> CheckpointMeta:
    """Return what is known about a checkpoint of the caller's.

    Raises:
        RefusedError: 400 for what is no id, 404 for one that is not there or not the caller's.
    """
    meta = known_checkpoint(core, run_id, checkpoint_id)
    if not core.caller.owns(meta.owner):
        raise no_checkpoint(meta.path)
    return meta


def known_checkpoint(core: CoreState, run_id: str, checkpoint_id: str) -> CheckpointMeta:
    """Return what is known about a checkpoint that the caller may read.

    Raises:
        RefusedError: 400 for what is no id, 404 for one that is not there for the caller.
    """
    path = f"{SCHEME}{run_id}/{checkpoint_id}"
    try:
        ParsedCheckpointTinkerPath.from_tinker_path(path)
    except InvalidInputError as error:
        raise RefusedError(
            400,
            f"{checkpoint_id[:200]!r} is no checkpoint id; one looks like weights/<name> or sampler_weights/<name>.",
        ) from error
    meta = core.catalog.find(path, core.wall)
    if meta is None:
        raise no_checkpoint(path)
    return meta


def no_checkpoint(path: str) -> RefusedError:
    """Return the refusal for a checkpoint that is not there, or not for the caller."""
    return RefusedError(404, f"There is no checkpoint {path[:300]}.")
