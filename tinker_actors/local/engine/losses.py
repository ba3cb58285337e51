"""The losses as a table: which inputs and settings each takes, and its value and slope per token.

A loss sees one datum: the log-probabilities of its targets, and arrays of the same length. Losses are sums over tokens
and datums, never means. Formulas: the service's loss documentation; q is the `logprobs` input, r = exp(lp - q).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
"""Per-token numbers of one datum; losses are computed in float64 whatever the model's precision."""

LossFunction = Callable[[Values, Mapping[str, Values], Mapping[str, float]], tuple[Values, Values]]
"""(lp, inputs, config) -> (loss per token, d loss / d lp per token)."""


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table.

    Attributes:
        required: Inputs that every datum must bring.
        optional: Inputs that a datum may bring; ones where it does not.
        config: Settings with their defaults.
        function: Value and slope per token.
    """

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    config: dict[str, float] = {}
    function: LossFunction


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


LOSSES: dict[str, Loss] = {
    "cross_entropy": Loss(optional=("weights",), function=_cross_entropy),
    "importance_sampling": Loss(required=("logprobs", "advantages"), function=_importance_sampling),
    "ppo": Loss(
        required=("logprobs", "advantages"),
        config={"clip_low_threshold": 0.8, "clip_high_threshold": 1.2},
        function=_ppo,
    ),
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
        ValueError: The loss is unknown, a setting is unknown or not finite, or the clip bounds are in the wrong order.
    """
    defaults = find_loss(name).config
    given = dict(config or {})
    if unknown := sorted(given.keys() - defaults.keys()):
        allowed = ", ".join(defaults) or "none"
        raise ValueError(f"loss {name!r} has no setting {', '.join(unknown)}; allowed: {allowed}")
    for key, value in given.items():
        if not np.isfinite(value):
            raise ValueError(f"setting {key} of loss {name!r} must be finite, got {value}")
    complete = {**defaults, **{key: float(value) for key, value in given.items()}}
    low, high = complete.get("clip_low_threshold"), complete.get("clip_high_threshold")
    if low is not None and high is not None and low > high:
        raise ValueError(f"clip_low_threshold {low} is above clip_high_threshold {high}")
    return complete


def complete_inputs(
    name: str, inputs: Mapping[str, npt.NDArray[np.floating]], length: int, where: str
) -> dict[str, Values]:
    """One datum's loss inputs in float64, with ones for optional ones left out.

    Args:
        name: The loss.
        inputs: Input name -> [length].
        length: Number of tokens.
        where: How to call the datum in errors.

    Raises:
        ValueError: The loss is unknown; an input is unknown, missing, of another length, or not finite.
    """
    loss = find_loss(name)
    allowed = (*loss.required, *loss.optional)
    if unknown := sorted(inputs.keys() - set(allowed)):
        raise ValueError(f"{where}: loss {name!r} takes no input {', '.join(unknown)}; allowed: {', '.join(allowed)}")
    if missing := [key for key in loss.required if key not in inputs]:
        raise ValueError(f"{where}: loss {name!r} needs the input {', '.join(missing)}")
    complete: dict[str, Values] = {key: np.ones(length) for key in loss.optional if key not in inputs}
    for key, given in inputs.items():
        values = np.asarray(given, np.float64)
        if values.shape != (length,):
            raise ValueError(f"{where}: loss input {key!r} has shape {values.shape} for {length} tokens")
        if not np.isfinite(values).all():
            index = int(np.flatnonzero(~np.isfinite(values))[0])
            raise ValueError(f"{where}: loss input {key!r} is {values[index]} at position {index}")
        complete[key] = values
    return complete


def evaluate(
    name: str, lp: Values, inputs: Mapping[str, Values], config: Mapping[str, float], where: str
) -> tuple[Values, Values]:
    """A loss's value and slope for one datum.

    Args:
        name: The loss.
        lp: [length], log-probabilities of the targets.
        inputs: Checked and completed by `complete_inputs`.
        config: Checked and completed by `complete_config`.
        where: How to call the datum in errors.

    Returns:
        Loss per token, and d loss / d lp per token.

    Raises:
        ValueError: The loss is not finite, as when exp(lp - logprobs) overflows.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        values, slopes = LOSSES[name].function(lp, inputs, config)
    if not np.isfinite(values).all():
        index = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ValueError(
            f"{where}: loss {name!r} is {values[index]} at position {index}, where lp is {lp[index]}"
            + (f" and logprobs is {inputs['logprobs'][index]}" if "logprobs" in inputs else "")
        )
    return values, slopes
