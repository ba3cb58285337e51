"""Checkpointing: weights saved, loaded and described.

Whether a path exists is looked at when a load's turn comes, because the save that makes it may be right in front.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from tinker_actors.errors import InvalidInputError
from tinker_actors.local.core import ids
from tinker_actors.local.core.checkpoints.lifetimes import require_ttl
from tinker_actors.local.core.checkpoints.sponsoring import sponsor_by
from tinker_actors.local.core.jobs import Success
from tinker_actors.local.core.keeping import Checkpoint, CheckpointExistsError, CheckpointMeta
from tinker_actors.local.core.models.model import Model
from tinker_actors.local.core.models.modeling import add_model, remember_run, require_adamw
from tinker_actors.local.core.models.submitting import Plan, accepted, enqueue, submit
from tinker_actors.local.core.ports import Arrays, TrainedModel
from tinker_actors.local.core.quota import require_notes
from tinker_actors.local.core.requests.messages import Answer, CoreRequest, RefusedError, ok
from tinker_actors.local.core.requests.numbers import require_number
from tinker_actors.local.core.requests.reading import read
from tinker_actors.protocol.codec import wire_json
from tinker_actors.types.paths import SCHEME, ParsedCheckpointTinkerPath
from tinker_actors.types.training import LoraConfig
from tinker_actors.types.wire import (
    LoadWeightsRequest,
    SaveWeightsForSamplerRequest,
    SaveWeightsRequest,
    WeightsInfoRequest,
)

if TYPE_CHECKING:
    from tinker_actors.local.core.state import CoreState


class SaveWeightsExternalRequest(msgspec.Struct):
    """`POST save_weights_external`."""

    model_id: str
    path: str
    seq_id: int | None = None


def save_weights(core: CoreState, request: CoreRequest, _now: float) -> Answer:
    """`POST save_weights`."""
    return submit(core, request, "save_weights", SaveWeightsRequest, _prepare_save)


def _prepare_save(core: CoreState, model: Model, body: SaveWeightsRequest) -> Plan:
    require_ttl(body.ttl_seconds)
    require_notes(core.limits, user_metadata=body.user_metadata)
    name = ids.require_checkpoint_name(body.path or f"checkpoint-{core.new_id()}")
    path, uid, owner = f"{SCHEME}{model.model_id}/weights/{name}", core.new_id(), core.caller.name

    def work(trained: TrainedModel) -> Success:
        adapter, optimizer = trained.state()
        meta = _dated(core, _meta(model, path, uid, owner, body, sampler=False), adapter, optimizer)
        made = Checkpoint(meta, adapter, optimizer, trained.adapter_config())
        _write(core, made, "save with overwrite=True to replace it, or use another name", overwrite=body.overwrite)
        return Success(wire_json.encode({"type": "save_weights", "path": path}))

    return Plan(work=work, on_success=_saved(core, model, owner, path))


def save_weights_for_sampler(core: CoreState, request: CoreRequest, _now: float) -> Answer:
    """`POST save_weights_for_sampler`, named (a checkpoint) or ephemeral (a sampler)."""
    return submit(core, request, "save_weights_for_sampler", SaveWeightsForSamplerRequest, _prepare_sampler_save)


def _prepare_sampler_save(core: CoreState, model: Model, body: SaveWeightsForSamplerRequest) -> Plan:
    if body.path is None:
        return _plan_ephemeral(core, model, body)
    path = f"{SCHEME}{model.model_id}/sampler_weights/{ids.require_checkpoint_name(body.path)}"
    require_ttl(body.ttl_seconds)
    require_notes(core.limits, user_metadata=body.user_metadata)
    uid, owner = core.new_id(), core.caller.name

    def work(trained: TrainedModel) -> Success:
        adapter, _ = trained.state()
        meta = _dated(core, _meta(model, path, uid, owner, body, sampler=True), adapter, {})
        _write(core, Checkpoint(meta, adapter, {}, trained.adapter_config()), "use another name", overwrite=False)
        return Success(wire_json.encode({"type": "save_weights_for_sampler", "path": path}))

    return Plan(work=work, on_success=_saved(core, model, owner, path))


def _write(core: CoreState, checkpoint: Checkpoint, way_out: str, *, overwrite: bool) -> None:
    """Keep a checkpoint.

    Raises:
        ValueError: its path is taken; the message says `way_out`.
    """
    try:
        core.store.write(checkpoint, overwrite=overwrite)
    except CheckpointExistsError as error:
        raise ValueError(f"{str(error).removesuffix('.')}: {way_out}.") from None


def _saved(core: CoreState, model: Model, owner: str, path: str) -> Callable[[Any], None]:
    def note(_: Any) -> None:
        assert model.base_model is not None
        core.usage.count(core, model.model_id, owner, model.base_model, "checkpoint", 1)
        core.audit.note(core, owner, "checkpoint.save", path)

    return note


def save_weights_external(core: CoreState, request: CoreRequest, _now: float) -> Answer:
    """`POST save_weights_external`: refused, in a way that leaves no gap in the model's numbers."""
    return submit(core, request, "save_weights_external", SaveWeightsExternalRequest, _refuse_export)


def _refuse_export(_core: CoreState, _model: Model, _body: SaveWeightsExternalRequest) -> Plan:
    raise RefusedError(
        400, "This server does not export weights; the archive of a checkpoint holds them in PEFT's layout."
    )


def _plan_ephemeral(core: CoreState, model: Model, body: SaveWeightsForSamplerRequest) -> Plan:
    number = body.sampling_session_seq_id
    if number is None:
        raise RefusedError(422, "Either path or sampling_session_seq_id is needed.")
    require_number("sampling_session_seq_id", number)
    session = core.sessions.get(model.session_id)
    sampler_id = ids.sampler_id(session.session_id, number)

    def work(trained: TrainedModel) -> Success:
        answer = {"type": "save_weights_for_sampler", "path": None, "sampling_session_id": sampler_id}
        return Success(wire_json.encode(answer), trained.snapshot())

    def saved(snapshot: Any) -> None:
        assert model.base_model is not None
        assert model.lora is not None
        weights = core.weights.ready(model.base_model, model.lora, snapshot)
        core.add_sampler(session.session_id, number, weights, model.owner)

    return Plan(work=work, on_success=saved, claims=(session.sampler_numbers, number))


def load_weights(core: CoreState, request: CoreRequest, _now: float) -> Answer:
    """`POST load_weights`, into an existing model or creating one."""
    body = read(request, LoadWeightsRequest)
    if (body.model_id is None) == (body.session_id is None):
        raise RefusedError(422, "Either model_id (with seq_id) or session_id (with model_seq_id) is needed.")
    if body.model_id is not None:
        return submit(core, request, "load_weights", LoadWeightsRequest, _prepare_load)
    return _create_by_loading(core, request, body)


def _prepare_load(core: CoreState, model: Model, body: LoadWeightsRequest) -> Plan:
    _require_path(body.path)
    readers = _readers(core, body)

    def work(trained: TrainedModel) -> Success:
        checkpoint = core.catalog.read(body.path, core.wall, readers)
        _require_same(checkpoint.meta, model)
        trained.load(checkpoint.adapter, _optimizer(checkpoint, body.optimizer))
        return _loaded(body.path, model, None)

    return Plan(work=work, clean_after=True)


def _create_by_loading(core: CoreState, request: CoreRequest, body: LoadWeightsRequest) -> Answer:
    assert body.session_id is not None
    session = core.sessions.get(body.session_id)
    if body.model_seq_id is None:
        raise RefusedError(422, "model_seq_id is needed along with session_id.")
    earlier = session.model_numbers.replay(body.model_seq_id, request)
    if earlier is not None:
        return earlier
    _require_path(body.path)
    require_adamw(body.optimizer_config)
    require_notes(core.limits, user_metadata=body.user_metadata)
    readers, owner = _readers(core, body), core.caller.name
    known = core.catalog.find(body.path, core.wall)
    model = add_model(
        core, session, body.model_seq_id, known.base_model if known else None, known.lora if known else None
    )

    def work(_: TrainedModel) -> Success:
        checkpoint = core.catalog.read(body.path, core.wall, readers)
        meta = checkpoint.meta
        if body.base_model is not None and body.base_model != meta.base_model:
            raise ValueError(f"{body.path} was trained from {meta.base_model}, not from {body.base_model}")
        _require_served(core, meta)
        trained = core.engine.create(meta.base_model, meta.lora)
        trained.load(checkpoint.adapter, _optimizer(checkpoint, body.optimizer))
        return _loaded(body.path, model, (trained, meta.base_model, meta.lora))

    def created(value: tuple[TrainedModel, str, LoraConfig]) -> None:
        model.trained, model.base_model, model.lora = value
        remember_run(core, model, owner, body.user_metadata)

    plan = Plan(work=work, creates=True, on_success=created)
    answer = accepted(enqueue(core, model, "load_weights", plan, None))
    return session.model_numbers.record(body.model_seq_id, request, answer)


def weights_info(core: CoreState, request: CoreRequest, _now: float) -> Answer:
    """`POST weights_info`."""
    meta = find_checkpoint(core, read(request, WeightsInfoRequest).tinker_path)
    return ok(
        {
            "type": "weights_info",
            "base_model": meta.base_model,
            "is_lora": True,
            "lora_rank": meta.lora.rank,
            "train_unembed": meta.lora.train_unembed,
            "train_mlp": meta.lora.train_mlp,
            "train_attn": meta.lora.train_attn,
            "optimizer_config": {"type": "adamw"},
        }
    )


def find_checkpoint(core: CoreState, path: str) -> CheckpointMeta:
    """Return what is known about a checkpoint.

    Raises:
        RefusedError: 400 for what is no path, 404 for one that leads nowhere.
    """
    _require_path(path)
    meta = core.catalog.find(path, core.wall)
    if meta is None:
        raise RefusedError(404, f"There is no checkpoint {path[:300]}.")
    return meta


def _require_path(path: str) -> None:
    try:
        ParsedCheckpointTinkerPath.from_tinker_path(path)
    except InvalidInputError as error:
        raise RefusedError(400, str(error)[:500]) from error


def _require_served(core: CoreState, meta: CheckpointMeta) -> None:
    if meta.base_model not in core.engine.base_models:
        known = ", ".join(sorted(core.engine.base_models))
        raise ValueError(f"{meta.path} was trained from {meta.base_model}; this server has: {known}")


def _require_same(meta: CheckpointMeta, model: Model) -> None:
    assert model.lora is not None
    there, here = _shape(meta.base_model, meta.lora), _shape(model.base_model, model.lora)
    if there != here:
        raise ValueError(f"{meta.path} holds {there}, but {model.model_id} is {here}")


def _shape(base_model: str | None, lora: LoraConfig) -> str:
    parts = [name for name in ("attn", "mlp", "unembed") if getattr(lora, f"train_{name}")]
    return f"rank {lora.rank} on {', '.join(parts)} of {base_model}"


def _optimizer(checkpoint: Checkpoint, wanted: bool) -> dict[str, Any] | None:
    if not wanted:
        return None
    if not checkpoint.meta.has_optimizer:
        raise ValueError(f"{checkpoint.meta.path} was saved without the optimizer's state")
    return checkpoint.optimizer


def _loaded(path: str, model: Model, value: Any) -> Success:
    return Success(wire_json.encode({"type": "load_weights", "path": path, "model_id": model.model_id}), value)


def _readers(core: CoreState, body: LoadWeightsRequest) -> frozenset[str] | None:
    sponsor_by(core, body.weights_access_token)
    return core.caller.readers()


def _dated(core: CoreState, meta: CheckpointMeta, adapter: Arrays, optimizer: Arrays) -> CheckpointMeta:
    """Return the description of a checkpoint that is saved now; from now on its time runs."""
    size = sum(values.nbytes for arrays in (adapter, optimizer) for values in arrays.values())
    expires = None if meta.ttl_seconds is None else core.wall + meta.ttl_seconds
    return msgspec.structs.replace(meta, created_at=core.wall, expires_at=expires, size_bytes=size)


def _meta(
    model: Model,
    path: str,
    uid: str,
    owner: str,
    body: SaveWeightsRequest | SaveWeightsForSamplerRequest,
    *,
    sampler: bool,
) -> CheckpointMeta:
    assert model.base_model is not None
    assert model.lora is not None
    return CheckpointMeta(
        path=path,
        uid=uid,
        kind="sampler" if sampler else "training",
        base_model=model.base_model,
        lora=model.lora,
        has_optimizer=not sampler,
        ttl_seconds=body.ttl_seconds,
        user_metadata=body.user_metadata,
        owner=owner,
    )
