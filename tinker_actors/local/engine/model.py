"""A LoRA model in training: a base model, an adapter, its gradients and its optimizer.

Everything is a function of the calls made so far: the same calls give the same bits on one machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from tinker_actors.local.engine.adamw import AdamParams, AdamW
from tinker_actors.local.engine.arrays import Floats
from tinker_actors.local.engine.backward import BackwardPass, Tape
from tinker_actors.local.engine.base import BaseModel
from tinker_actors.local.engine.batch import ACTIVATION_BYTES, Packing, activation_bytes, microbatches
from tinker_actors.local.engine.data import CheckedDatum, CheckedRequest, Datum, Output, check_request
from tinker_actors.local.engine.layers import rms_norm_backward
from tinker_actors.local.engine.lora import HEAD, Adapter, Groups, Layout, LoraSpec
from tinker_actors.local.engine.losses import Values, evaluate
from tinker_actors.local.engine.transformer import Linears, final_norm, hidden_states, no_tape, projections
from tinker_actors.local.engine.unembed import TargetLogprobs
from tinker_actors.local.engine.workspace import Workspace


class ModelState(msgspec.Struct, frozen=True, eq=False):
    """Everything that a model needs to go on; copies, by name.

    Attributes:
        adapter: PEFT name -> matrix.
        optimizer: `<PEFT name>.exp_avg` and `.exp_avg_sq` -> matrix, `step` -> int64 [1].
    """

    adapter: dict[str, Floats]
    optimizer: dict[str, Floats]


class LoraModel:
    """A LoRA model in training.

    To be used by one thread at a time; different models, on one base model too, by different threads.

    Attributes:
        base: The frozen base model.
        spec: What is trained.

    Args:
        base: The frozen base model.
        spec: What is trained.
        activation_bytes: Memory limit of a microbatch; part of what fixes the bits of a result.
        workspace: Where microbatches wait for memory.
    """

    def __init__(
        self,
        base: BaseModel,
        spec: LoraSpec,
        *,
        activation_bytes: int = ACTIVATION_BYTES,
        workspace: Workspace | None = None,
    ) -> None:
        self.base = base
        self.spec = spec
        self._activation_bytes = activation_bytes
        self._workspace = workspace or Workspace()
        self._layout = Layout(base.config, spec)
        self._parameters = self._layout.initial(base.dtype)
        self._groups = self._layout.groups(self._parameters)
        self._gradient = np.zeros_like(self._parameters)
        self._optimizer = AdamW(self._parameters)
        self._linears: Linears | None = None

    def forward(self, data: Sequence[Datum], loss_fn: str, config: Mapping[str, float] | None = None) -> Output:
        """Compute log-probabilities and the loss, and no gradient.

        Args:
            data: The sequences.
            loss_fn: Name of the loss; see `losses.LOSSES`.
            config: The loss's settings that differ from their defaults.

        Raises:
            ValueError: See `data.check_request`; or the loss is not finite.
        """
        return self._run(check_request(data, loss_fn, config, self.base.config), None)

    def forward_backward(
        self, data: Sequence[Datum], loss_fn: str, config: Mapping[str, float] | None = None
    ) -> Output:
        """Compute log-probabilities and the loss, and add the loss's gradient to what has accumulated.

        Args:
            data: The sequences.
            loss_fn: Name of the loss; see `losses.LOSSES`.
            config: The loss's settings that differ from their defaults.

        Raises:
            ValueError: See `data.check_request`; or the loss or its gradient is not finite. Nothing is added then.
        """
        gradient = np.zeros_like(self._parameters)
        output = self._run(check_request(data, loss_fn, config, self.base.config), self._layout.groups(gradient))
        if not np.isfinite(gradient).all():
            raise ValueError(f"the gradient of loss {loss_fn!r} is not finite; it has not been added")
        self._gradient += gradient
        return output

    def optim_step(self, params: AdamParams) -> dict[str, float]:
        """Do one AdamW step with the accumulated gradient, and start accumulating anew.

        Without any gradient since the last step it is a step with a gradient of zero: momentum still moves the weights.

        Args:
            params: Settings of this step.

        Returns:
            `grad_norm:mean` (before clipping) and `learning_rate:mean`.

        Raises:
            ValueError: The gradient, or what would come of it, is not finite; weights and moments are unchanged, the
                gradient is discarded.
        """
        try:
            norm = self._optimizer.update(self._parameters, self._gradient, params)
        finally:
            self._linears = None
            self.discard_gradients()
        return {"grad_norm:mean": norm, "learning_rate:mean": params.learning_rate}

    def discard_gradients(self) -> None:
        """Forget the gradient accumulated since the last step."""
        self._gradient[...] = 0

    def gradients(self) -> dict[str, Floats]:
        """A copy of the accumulated gradient, by PEFT name."""
        return self._layout.named(self._gradient.copy())

    def snapshot(self) -> Adapter:
        """An immutable copy of the adapter as it is now, for sampling."""
        return Adapter(self._layout, self._parameters)

    def state(self) -> ModelState:
        """A copy of the adapter and the optimizer. Accumulated gradients are not part of it."""
        optimizer: dict[str, Floats] = {"step": np.array([self._optimizer.step])}
        for field, flat in self._moments().items():
            for name, matrix in self._layout.named(flat.copy()).items():
                optimizer[f"{name}.{field}"] = matrix
        return ModelState(self._layout.named(self._parameters.copy()), optimizer)

    def load_state(self, adapter: dict[str, Floats], optimizer: dict[str, Floats] | None = None) -> None:
        """Go back to a saved state. Accumulated gradients are discarded.

        Args:
            adapter: As in `ModelState`.
            optimizer: As in `ModelState`; None starts the optimizer anew.

        Raises:
            ValueError: An array is missing, unknown or misshapen, or holds what is not finite; nothing has changed
                then.
        """
        parameters = np.empty_like(self._parameters)
        self._layout.fill(parameters, adapter)
        fresh = AdamW(self._parameters)
        if optimizer is not None:
            self._fill_optimizer(fresh, optimizer)
        self._parameters[...] = parameters
        self._linears = None
        self._optimizer = fresh
        self.discard_gradients()

    def _moments(self) -> dict[str, Floats]:
        return {"exp_avg": self._optimizer.exp_avg, "exp_avg_sq": self._optimizer.exp_avg_sq}

    def _fill_optimizer(self, target: AdamW, arrays: dict[str, Floats]) -> None:
        step = np.asarray(arrays.get("step", ()))
        if step.size != 1 or not np.isfinite(step).all() or step.min() < 0:
            raise ValueError("optimizer state lacks a single number 'step', 0 or more")
        by_field: dict[str, dict[str, Floats]] = {"exp_avg": {}, "exp_avg_sq": {}}
        for key, array in arrays.items():
            name, _, field = key.rpartition(".")
            if field in by_field:
                by_field[field][name] = array
            elif key != "step":
                raise ValueError(f"optimizer state has an array that is not understood: {key}")
        self._layout.fill(target.exp_avg, by_field["exp_avg"])
        self._layout.fill(target.exp_avg_sq, by_field["exp_avg_sq"])
        target.step = int(step.reshape(()))

    def _run(self, request: CheckedRequest, grads: Groups | None) -> Output:
        if self._linears is None:
            self._linears = projections(self.base, self._groups)
        logprobs: list[Values] = []
        loss_sum = 0.0
        lengths = [len(datum.tokens) for datum in request.data]
        # What overflows ends in a loss or gradient that is not finite, which is refused.
        with np.errstate(over="ignore", invalid="ignore"):
            for run in microbatches(lengths, self.base.config, self._activation_bytes):
                with self._workspace.taken(self._bytes_of([lengths[i] for i in run])):
                    part, losses = self._run_microbatch(self._linears, [request.data[i] for i in run], request, grads)
                logprobs += part
                loss_sum += losses
        if not math.isfinite(loss_sum):
            raise ValueError(f"the sum of loss {request.loss!r} over the request is {loss_sum}")
        metrics = {
            "loss:sum": loss_sum,
            "tokens:sum": float(sum(lengths)),
            "datums:sum": float(len(lengths)),
        }
        return Output([lp.astype(np.float32) for lp in logprobs], metrics)

    def _bytes_of(self, lengths: Sequence[int]) -> int:
        # Half as much again for what backward computes.
        return activation_bytes(len(lengths), max(lengths), self.base.config) * 3 // 2

    def _run_microbatch(
        self, linears: Linears, data: list[CheckedDatum], request: CheckedRequest, grads: Groups | None
    ) -> tuple[list[Values], float]:
        packing = Packing([len(datum.tokens) for datum in data])
        tape: Tape = []
        keep = no_tape if grads is None else lambda _, layer_tape: tape.append(layer_tape)
        tokens = np.concatenate([datum.tokens for datum in data])
        x = hidden_states(self.base, linears, packing, tokens, keep)
        h, inverse = final_norm(self.base, x)
        targets = np.concatenate([datum.targets.ravel() for datum in data])
        owners = np.repeat(np.arange(len(h)), np.repeat(*_targets_per_position(data)))
        target = TargetLogprobs(linears[HEAD, "unembed"], h, targets, owners)
        ends = np.cumsum([datum.targets.size for datum in data])
        flat = np.split(target.values.astype(np.float64), ends[:-1])
        logprobs = [lp.reshape(datum.targets.shape) for lp, datum in zip(flat, data, strict=True)]
        results = [
            evaluate(request.loss, lp, datum.inputs, request.config, datum.where)
            for lp, datum in zip(logprobs, data, strict=True)
        ]
        if grads is not None:
            slopes = np.concatenate([slope.ravel() for _, slope in results]).astype(x.dtype)
            dh = target.backward(slopes, grads.get((HEAD, "unembed")))
            dx = rms_norm_backward(dh, x, inverse, self.base.final_norm)
            BackwardPass(self.base, linears, grads, packing).run(tape, dx)
        return logprobs, float(np.concatenate([values.ravel() for values, _ in results]).sum())


def _targets_per_position(data: Sequence[CheckedDatum]) -> tuple[list[int], list[int]]:
    """How many targets each position of a datum has, and how many positions there are."""
    lengths = [len(datum.tokens) for datum in data]
    return [datum.targets.size // length for datum, length in zip(data, lengths, strict=True)], lengths
