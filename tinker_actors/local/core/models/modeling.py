"""Modeling: models created, described and unloaded."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import msgspec

from tinker_actors.local.core import ids
from tinker_actors.local.core.about import stand_in_note
from tinker_actors.local.core.jobs import Success
from tinker_actors.local.core.keeping import RunRecord
from tinker_actors.local.core.models.model import Model
from tinker_actors.local.core.models.submitting import Plan, accepted, enqueue
from tinker_actors.local.core.ports import TrainedModel
from tinker_actors.local.core.quota import is_room, require_notes, require_quota
from tinker_actors.local.core.requests.messages import Answer, CoreRequest, RefusedError, ok
from tinker_actors.local.core.requests.numbers import require_number
from tinker_actors.local.core.requests.reading import read
from tinker_actors.local.core.sessions import Session
from tinker_actors.protocol.codec import wire_json
from tinker_actors.types.training import LoraConfig
from tinker_actors.types.wire import CreateModelRequest, ModelRequest

if TYPE_CHECKING:
    from tinker_actors.local.core.state import CoreState


_LOG = logging.getLogger(__name__)


def create_model(core: CoreState, request: CoreRequest, _now: float) -> Answer:
    """`POST create_model`."""
    body = read(request, CreateModelRequest)
    session = core.sessions.get(body.session_id)
    earlier = session.model_numbers.replay(body.model_seq_id, request)
    if earlier is not None:
        return earlier
    core.futures.require_room()
    core.base_model(body.base_model)
    require_adamw(body.optimizer_config)
    require_notes(core.limits, user_metadata=body.user_metadata)
    lora = _with_seed(body.lora_config or LoraConfig(), ids.model_id(body.session_id, body.model_seq_id))
    if lora.rank > core.limits.lora_rank:
        raise RefusedError(400, f"LoRA rank {lora.rank} is above this server's limit of {core.limits.lora_rank}.")
    model = add_model(core, session, body.model_seq_id, body.base_model, lora)
    owner = core.caller.name

    def work(_: TrainedModel) -> Success:
        answer = {"type": "create_model", "model_id": model.model_id}
        return Success(wire_json.encode(answer), core.engine.create(body.base_model, lora))

    def created(trained: TrainedModel) -> None:
        model.trained = trained
        remember_run(core, model, owner, body.user_metadata)

    plan = Plan(work=work, creates=True, always=True, on_success=created)
    answer = accepted(enqueue(core, model, "create_model", plan, None))
    return session.model_numbers.record(body.model_seq_id, request, answer)


def get_info(core: CoreState, request: CoreRequest, _now: float) -> Answer:
    """`POST get_info`."""
    model = core.model(read(request, ModelRequest).model_id)
    said: dict[str, Any] = {"type": "get_info", "model_id": model.model_id, "model_data": {}, "is_lora": True}
    if model.base_model is not None:
        info = core.base_model(model.base_model)
        said["model_name"] = info.name
        said["model_data"] = {"arch": info.arch, "model_name": info.name, "tokenizer_id": info.tokenizer_id}
        said |= stand_in_note(info)
    if model.lora is not None:
        said["lora_rank"] = model.lora.rank
    return ok({**said, "optimizer_config": {"type": "adamw"}})


def unload_model(core: CoreState, request: CoreRequest, _now: float) -> Answer:
    """`POST unload_model`: done in its turn, behind what was accepted before it."""
    model = core.model(read(request, ModelRequest).model_id)

    def work(_: TrainedModel) -> Success:
        return Success(wire_json.encode({"type": "unload_model", "model_id": model.model_id, "status": "unloaded"}))

    def unloaded(_: Any) -> None:
        core.models.pop(model.model_id, None)
        core.catalog.end_run(model.model_id)
        core.sessions.get(model.session_id).model_numbers.retire(ids.number_of(model.model_id))
        leftover = model.sequencer
        model.close()
        for operation in leftover.drain():
            if operation.future is not None:
                core.futures.lose(operation.future, f"Model {model.model_id} was unloaded before this was done.")

    return accepted(enqueue(core, model, "unload_model", Plan(work=work, always=True, on_success=unloaded), None))


def add_model(
    core: CoreState, session: Session, model_seq_id: int, base_model: str | None, lora: LoraConfig | None
) -> Model:
    """Add a session's new model, still to be created by its first operation.

    Raises:
        RefusedError: 422, the number can't be one; 403, the owner has as many models as the limit allows, or they take
            all the memory there is for him.
    """
    require_number("model_seq_id", model_seq_id)
    owner = core.caller.name
    mine = [model.weight for model in core.models.values() if model.owner == owner]
    require_quota("models", len(mine), core.limits.models_per_owner)
    weight = 0 if base_model is None or lora is None else core.engine.adapter_bytes(base_model, lora)
    held, limit = sum(model.weight for model in core.models.values()), core.limits.adapter_bytes
    if limit is not None and not is_room(weight, sum(mine), held, limit):
        raise RefusedError(
            403,
            f"This model would take {weight} bytes beside the {sum(mine)} that yours take; this server has {limit} for "
            f"the models of all, of which {held} are taken. Close a client that is not needed any more, ask for a "
            "lower rank, or start the server with a higher limit.",
        )
    model = Model(ids.model_id(session.session_id, model_seq_id), session.session_id, base_model, lora, owner, weight)
    core.models[model.model_id] = model
    return model


def remember_run(core: CoreState, model: Model, owner: str, user_metadata: dict[str, Any] | None) -> None:
    """Keep a model's record: from now on it is a training run, even when the model is gone."""
    assert model.base_model is not None
    assert model.lora is not None
    _LOG.info("%s: made the model %s on %s, rank %d", owner, model.model_id, model.base_model, model.lora.rank)
    core.catalog.put_run(
        RunRecord(
            run_id=model.model_id,
            owner=owner,
            base_model=model.base_model,
            lora=model.lora,
            created_at=core.wall,
            last_request_at=core.wall,
            user_metadata=user_metadata,
        )
    )


def require_adamw(optimizer_config: dict[str, Any] | None) -> None:
    """Check that the optimizer asked for is the one there is.

    Raises:
        RefusedError: 400, it is not.
    """
    kind = (optimizer_config or {}).get("type") or "adamw"
    if kind != "adamw":
        raise RefusedError(400, f"There is no optimizer {str(kind)[:100]!r}. This server has: adamw.")


def _with_seed(lora: LoraConfig, model_id: str) -> LoraConfig:
    """Return the configuration with a seed: what is drawn for the user is then known and can be repeated."""
    if lora.seed is not None:
        return lora
    return msgspec.structs.replace(lora, seed=ids.seed_from(model_id))
