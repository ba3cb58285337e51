"""The losses as a table: which inputs and settings each takes, and its value and slope per token.

A loss sees one datum: the log-probabilities of its targets, and arrays of the same shape. Losses are sums over targets
and datums, never means. Formulas: the service's loss documentation; q is the `logprobs` input, A the `advantages`,
r = exp(lp - q).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import msgspec
import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
"""Per-target numbers of one datum; losses are computed in float64 whatever the model's precision."""

LossFunction = Callable[[Values, Mapping[str, Values], Mapping[str, float]], tuple[Values, Values]]
"""(lp, inputs, config) -> (loss per target, d loss / d lp per target)."""


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table.

    Attributes:
        required: Inputs that every datum must bring.
        optional: Inputs that a datum may bring; ones where it does not.
        config: Settings with their defaults.
        function: Value and slope per target.
        many_targets: Whether a position may have several targets.
    """

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    config: dict[str, float] = {}
    function: LossFunction
    many_targets: bool = False


def _cross_entropy(lp: Values, inputs: Mapping[str, Values], _config: Mapping[str, float]) -> tuple[Values, Values]:
    """-lp * weights."""
    weights = inputs["weights"]
    return -lp * weights, -weights


def _importance_sampling(
    lp: Values, inputs: Mapping[str, Values], _config: Mapping[str, float]
) -> tuple[Values, Values]:
    """-r * A, whose slope is itself."""
    loss = -np.exp(lp - inputs["logprobs"]) * inputs["advantages"]
    return loss, loss


def _ppo(lp: Values, inputs: Mapping[str, Values], config: Mapping[str, float]) -> tuple[Values, Values]:
    """-min(r * A, clip(r, low, high) * A); flat where the clipped term is the smaller one."""
    ratio, advantages = np.exp(lp - inputs["logprobs"]), inputs["advantages"]
    free = ratio * advantages
    clipped = np.clip(ratio, config["clip_low_threshold"], config["clip_high_threshold"]) * advantages
    return -np.minimum(free, clipped), np.where(free <= clipped, -free, 0.0)


def _cispo(lp: Values, inputs: Mapping[str, Values], config: Mapping[str, float]) -> tuple[Values, Values]:
    """-clip(r, low, high) * lp * A, where the clipped ratio counts as a constant."""
    ratio = np.exp(lp - inputs["logprobs"])
    slope = -np.clip(ratio, config["clip_low_threshold"], config["clip_high_threshold"]) * inputs["advantages"]
    return slope * lp, slope


def _dro(lp: Values, inputs: Mapping[str, Values], config: Mapping[str, float]) -> tuple[Values, Values]:
    """-(lp * A - beta / 2 * (lp - q)^2)."""
    distance, advantages, beta = lp - inputs["logprobs"], inputs["advantages"], config["beta"]
    return 0.5 * beta * np.square(distance) - lp * advantages, beta * distance - advantages


_POLICY = ("logprobs", "advantages")

LOSSES: dict[str, Loss] = {
    "cross_entropy": Loss(optional=("weights",), function=_cross_entropy, many_targets=True),
    "importance_sampling": Loss(required=_POLICY, function=_importance_sampling),
    "ppo": Loss(required=_POLICY, config={"clip_low_threshold": 0.8, "clip_high_threshold": 1.2}, function=_ppo),
    "cispo": Loss(required=_POLICY, config={"clip_low_threshold": 0.0, "clip_high_threshold": 4.0}, function=_cispo),
    # The service documents no default for beta; 0.1 is what an independent server has.
    "dro": Loss(required=_POLICY, config={"beta": 0.1}, function=_dro),
}
"""Loss name -> its row."""


def find_loss(name: str) -> Loss:
    """Look a loss up.

    Raises:
        ValueError: There is none of this name; the message lists those there are.
    """
    if name not in LOSSES:
        raise ValueError(f"unknown loss {name!r}; there are {', '.join(sorted(LOSSES))}")
    return LOSSES[name]


def complete_config(name: str, config: Mapping[str, float] | None) -> dict[str, float]:
    """A loss's settings with its defaults filled in.

    Raises:
        ValueError: The loss is unknown, a setting is unknown, negative or not finite, or the clip bounds are in the
            wrong order.
    """
    defaults = find_loss(name).config
    given = dict(config or {})
    if unknown := sorted(given.keys() - defaults.keys()):
        allowed = ", ".join(defaults) or "none"
        raise ValueError(f"loss {name!r} has no setting {', '.join(unknown)}; allowed: {allowed}")
    for key, value in given.items():
        if not 0 <= value < math.inf:
            raise ValueError(
                f"setting {key} of loss {name!r} must be a finite number that is not negative, got {value}"
            )
    complete = {**defaults, **{key: float(value) for key, value in given.items()}}
    low, high = complete.get("clip_low_threshold"), complete.get("clip_high_threshold")
    if low is not None and high is not None and low > high:
        raise ValueError(f"clip_low_threshold {low} is above clip_high_threshold {high}")
    return complete


def complete_inputs(
    name: str, inputs: Mapping[str, npt.NDArray[np.floating]], shape: tuple[int, ...], where: str
) -> dict[str, Values]:
    """One datum's loss inputs in float64, with ones for optional ones left out.

    Args:
        name: The loss.
        inputs: Input name -> array in the shape of the targets.
        shape: Shape of the targets, [length] or [length, targets per position].
        where: How to call the datum in errors.

    Raises:
        ValueError: The loss is unknown, or takes one target per position only; an input is unknown, missing, of another
            shape, or not finite.
    """
    loss = find_loss(name)
    allowed = (*loss.required, *loss.optional)
    if unknown := sorted(inputs.keys() - set(allowed)):
        raise ValueError(f"{where}: loss {name!r} takes no input {', '.join(unknown)}; allowed: {', '.join(allowed)}")
    if missing := [key for key in loss.required if key not in inputs]:
        raise ValueError(f"{where}: loss {name!r} needs the input {', '.join(missing)}")
    if len(shape) > 1 and not loss.many_targets:
        raise ValueError(f"{where}: loss {name!r} takes one target per position, not targets of shape {shape}")
    complete: dict[str, Values] = {key: np.ones(shape) for key in loss.optional if key not in inputs}
    for key, given in inputs.items():
        values = np.asarray(given, np.float64)
        if values.shape != shape:
            raise ValueError(f"{where}: loss input {key!r} has shape {values.shape} for targets of shape {shape}")
        if (bad := _first_not_finite(values)) is not None:
            raise ValueError(f"{where}: loss input {key!r} is {values[bad]} at position {bad[0]}")
        complete[key] = values
    return complete


def evaluate(
    name: str, lp: Values, inputs: Mapping[str, Values], config: Mapping[str, float], where: str
) -> tuple[Values, Values]:
    """A loss's value and slope for one datum.

    Args:
        name: The loss.
        lp: Log-probabilities of the targets, in their shape.
        inputs: Checked and completed by `complete_inputs`.
        config: Checked and completed by `complete_config`.
        where: How to call the datum in errors.

    Returns:
        Loss per target, and d loss / d lp per target.

    Raises:
        ValueError: The loss is not finite, as when exp(lp - logprobs) overflows.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        values, slopes = LOSSES[name].function(lp, inputs, config)
    if (bad := _first_not_finite(values)) is not None:
        raise ValueError(
            f"{where}: loss {name!r} is {values[bad]} at position {bad[0]}, where lp is {lp[bad]}"
            + (f" and logprobs is {inputs['logprobs'][bad]}" if "logprobs" in inputs else "")
        )
    return values, slopes


def _first_not_finite(values: Values) -> tuple[int, ...] | None:
    """The index of the first number that is infinite or not a number."""
    finite = np.isfinite(values)
    if finite.all():
        return None
    return tuple(int(i) for i in np.argwhere(~finite)[0])
