"""Training: forward, forward_backward and optim_step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tinker_actors.local.core.jobs import Success
from tinker_actors.local.core.models.datums import examples_of, require_context
from tinker_actors.local.core.models.model import Model
from tinker_actors.local.core.models.submitting import Numbered, Plan, hold_unread_place, submit, submit_read
from tinker_actors.local.core.ports import PassOutput, TrainedModel
from tinker_actors.local.core.requests.dialects import sent_in_protobuf
from tinker_actors.local.core.requests.messages import Answer, CoreRequest, RefusedError
from tinker_actors.local.core.requests.reading import read_message, read_pass, require_datums
from tinker_actors.protocol.codec import wire_json
from tinker_actors.types.wire import ForwardBackwardInput, ForwardBackwardRequest, ForwardRequest, OptimStepRequest

if TYPE_CHECKING:
    from tinker_actors.local.core.state import CoreState


def forward(core: CoreState, request: CoreRequest, _now: float) -> Answer:
    """`POST forward`."""
    return submit(core, request, "forward", ForwardRequest, _prepare_forward)


def forward_backward(core: CoreState, request: CoreRequest, _now: float) -> Answer:
    """`POST forward_backward`, in either dialect; in protobuf it may be a forward."""
    if not sent_in_protobuf(request):
        return submit(core, request, "forward_backward", ForwardBackwardRequest, _prepare_forward_backward)
    message = read_message(request)
    kind = "forward" if message.forward_only else "forward_backward"
    try:
        body = read_pass(request, message, core.limits.datums_per_request)
    except RefusedError as refusal:
        hold_unread_place(core, request, kind, refusal, Numbered(message.model_id, message.seq_id))
        raise
    if isinstance(body, ForwardRequest):
        return submit_read(core, request, kind, body, _prepare_forward)
    return submit_read(core, request, kind, body, _prepare_forward_backward)


def optim_step(core: CoreState, request: CoreRequest, _now: float) -> Answer:
    """`POST optim_step`."""
    return submit(core, request, "optim_step", OptimStepRequest, _prepare_optim_step)


def _prepare_forward(core: CoreState, model: Model, body: ForwardRequest) -> Plan:
    return _plan_pass(core, model, body.forward_input, gradient=False)


def _prepare_forward_backward(core: CoreState, model: Model, body: ForwardBackwardRequest) -> Plan:
    return _plan_pass(core, model, body.forward_backward_input, gradient=True)


def _plan_pass(core: CoreState, model: Model, given: ForwardBackwardInput, *, gradient: bool) -> Plan:
    if given.loss_fn not in core.engine.loss_functions:
        known = ", ".join(sorted(core.engine.loss_functions))
        raise RefusedError(400, f"There is no loss function {given.loss_fn[:100]!r}. This server has: {known}.")
    if not given.data:
        raise RefusedError(400, "data is empty; at least one datum is needed.")
    require_datums(len(given.data), core.limits.datums_per_request)
    for name, value in (given.loss_fn_config or {}).items():
        if isinstance(value, float) and not math.isfinite(value):  # which JSON can't say, but protobuf can
            raise RefusedError(400, f"loss_fn_config {name[:100]} must be a finite number, got {value}.")
    if model.base_model is not None:  # else its checkpoint was not read yet, and the job sees to it
        require_context(given.data, core.engine.base_models[model.base_model].context_length)
    kind, owner = "forward_backward" if gradient else "forward", core.caller.name

    def work(trained: TrainedModel) -> Success:
        # The model's base is known by now even if its checkpoint was not read yet when this was submitted.
        assert model.base_model is not None
        info = core.engine.base_models[model.base_model]
        examples = examples_of(given.data, info.vocab_size, info.context_length)
        compute = trained.forward_backward if gradient else trained.forward
        output = compute(examples, given.loss_fn, given.loss_fn_config or {})
        return Success(_encoded(kind, output), sum(len(example.tokens) for example in examples))

    def done(tokens: int) -> None:
        assert model.base_model is not None
        core.usage.count(core, model.model_id, owner, model.base_model, "training", tokens)

    return Plan(work=work, gradient=gradient, datums=len(given.data), on_success=done)


def _prepare_optim_step(_core: CoreState, model: Model, body: OptimStepRequest) -> Plan:
    if body.discard:
        return Plan(work=_discard, always=True, on_success=lambda _: model.taints.empty())
    params = body.adam_params

    def work(trained: TrainedModel) -> Success:
        return Success(wire_json.encode({"type": "optim_step", "metrics": trained.optim_step(params)}))

    return Plan(work=work, step=True)


def _discard(trained: TrainedModel) -> Success:
    trained.discard_gradients()
    return Success(wire_json.encode({"type": "optim_step", "metrics": {}}))


def _encoded(kind: str, output: PassOutput) -> bytes:
    outputs: list[dict[str, Any]] = [
        {"logprobs": {"data": values.reshape(-1), "dtype": "float32", "shape": values.shape}}
        for values in output.logprobs
    ]
    return wire_json.encode(
        {
            "type": kind,
            "loss_fn_output_type": "ArrayRecord",
            "loss_fn_outputs": outputs,
            "metrics": output.metrics,
        }
    )
