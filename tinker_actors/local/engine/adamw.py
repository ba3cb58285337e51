"""AdamW on one flat vector, as `torch.optim.AdamW` and `torch.nn.utils.clip_grad_norm_` compute it."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from tinker_actors.local.engine.arrays import Floats

LARGEST = float(np.finfo(np.float32).max)
"""The largest setting: weights are float32, and beyond it there is only infinity."""


class AdamParams(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one optimizer step; the defaults are the protocol's.

    Attributes:
        learning_rate: Step size.
        beta1: Decay of the mean gradient, in [0, 1).
        beta2: Decay of the mean squared gradient, in [0, 1).
        eps: Added to the root of the mean square.
        weight_decay: Decoupled decay: matrices shrink by learning_rate * weight_decay.
        grad_clip_norm: Greatest global gradient norm; 0 means no limit.

    Raises:
        ValueError: A setting is not finite or outside its range, or learning_rate * weight_decay is above 1, so that
            weights would not decay.
    """

    learning_rate: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-12
    weight_decay: float = 0.0
    grad_clip_norm: float = 0.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if not 0 <= value <= LARGEST:
                raise ValueError(f"{name} must be a number from 0 to {LARGEST:.3g}, got {value}")
            if name in {"beta1", "beta2"} and value >= 1:
                raise ValueError(f"{name} must be below 1, got {value}")
        if self.learning_rate * self.weight_decay > 1:
            raise ValueError(
                f"learning_rate * weight_decay must be at most 1, or weights grow instead of decaying; got "
                f"{self.learning_rate} * {self.weight_decay}"
            )


class AdamW:
    """The optimizer's state for one flat vector, and the step.

    Attributes:
        exp_avg: Mean gradient.
        exp_avg_sq: Mean squared gradient.
        step: Steps done.

    Args:
        like: A vector of the length and precision wanted.
    """

    def __init__(self, like: Floats) -> None:
        self.exp_avg = np.zeros_like(like)
        self.exp_avg_sq = np.zeros_like(like)
        self.step = 0

    def reset(self) -> None:
        """Forget everything."""
        self.exp_avg[...] = 0
        self.exp_avg_sq[...] = 0
        self.step = 0

    def update(self, parameters: Floats, gradient: Floats, params: AdamParams) -> float:
        """Do one step.

        Args:
            parameters: Changed in place.
            gradient: Not changed.
            params: Settings of this step.

        Returns:
            The global norm of the gradient before clipping.

        Raises:
            ValueError: The gradient is not finite, or what would come of it is not; nothing has changed then.
        """
        norm = math.sqrt(float(np.square(gradient, dtype=np.float64).sum()))
        if not math.isfinite(norm):
            raise ValueError(f"the gradient norm is {norm}; the step has not been done")
        with np.errstate(over="ignore", invalid="ignore"):
            after = self._after(parameters, gradient, norm, params)
        for name, values in zip(("weights", "mean gradients", "mean squared gradients"), after, strict=True):
            if not np.isfinite(values).all():
                raise ValueError(
                    f"the step would make {name} that are not finite, with a gradient norm of {norm:.3g} and {params}; "
                    f"it has not been done"
                )
        parameters[...], self.exp_avg, self.exp_avg_sq = after
        self.step += 1
        return norm

    def _after(
        self, parameters: Floats, gradient: Floats, norm: float, params: AdamParams
    ) -> tuple[Floats, Floats, Floats]:
        """Return weights and moments as they are after a step."""
        g = gradient
        if params.grad_clip_norm > 0:
            # The constants are torch's: a little below the limit, and never scaled up.
            g = gradient * min(1.0, params.grad_clip_norm / (norm + 1e-6))
        exp_avg = self.exp_avg * params.beta1
        exp_avg += (1 - params.beta1) * g
        exp_avg_sq = self.exp_avg_sq * params.beta2
        exp_avg_sq += (1 - params.beta2) * np.square(g)
        correction1 = 1 - params.beta1 ** (self.step + 1)
        correction2 = 1 - params.beta2 ** (self.step + 1)
        denominator = np.sqrt(exp_avg_sq)
        denominator /= math.sqrt(correction2)
        denominator += params.eps
        # With eps 0 a gradient that was always zero would divide zero by zero; torch yields NaN there.
        change = np.divide(exp_avg, denominator, out=np.zeros_like(denominator), where=denominator > 0)
        change *= params.learning_rate / correction1
        changed = parameters * (1 - params.learning_rate * params.weight_decay)
        changed -= change
        return changed, exp_avg, exp_avg_sq
