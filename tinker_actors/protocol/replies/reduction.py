"""Reduction: the outputs of one call that was cut into chunks, as one output.

The rules are the wire protocol's (3.10) and are applied for a single chunk too, so that a metric means the same
however the data were cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tinker_actors.types.training import ForwardBackwardOutput

_HASH_MASK = 2**64 - 1

_Values = Sequence[float]
_Weights = Sequence[int]


def merge_outputs(outputs: Sequence[ForwardBackwardOutput]) -> ForwardBackwardOutput:
    """Merge the outputs of a call's chunks, in the order of the chunks.

    The outputs per datum are joined in order; the kind is that of the first chunk. Metrics are named
    `name:reduction`. Only keys of the first chunk count, and a key that any chunk lacks is dropped. Reductions:

    - `sum`, `min`, `max`;
    - `mean`: weighted by each chunk's number of outputs (evenly when no chunk has any);
    - `slack`: the largest value less the weighted mean;
    - `unique`: the first chunk's value under the key, the others' under `key_1`, `key_2`, ...;
    - `hash2`: the values as unsigned 64-bit integers, added modulo 2**64.

    A key without exactly one colon, or with a reduction that is not known, is kept as it is when there is a single
    chunk and dropped when there are several, because nothing says how to merge it. (The official client raises for
    the former.)

    Raises:
        ValueError: `outputs` is empty.
    """
    if not outputs:
        raise ValueError("There is nothing to merge: no outputs.")
    weights = [len(output.loss_fn_outputs) for output in outputs]
    merged: dict[str, float] = {}
    for key in outputs[0].metrics:
        if all(key in output.metrics for output in outputs):
            merged.update(_reduce(key, [output.metrics[key] for output in outputs], weights))
    return ForwardBackwardOutput(
        loss_fn_output_type=outputs[0].loss_fn_output_type,
        loss_fn_outputs=[record for output in outputs for record in output.loss_fn_outputs],
        metrics=merged,
    )


def _reduce(key: str, values: _Values, weights: _Weights) -> dict[str, float]:
    name, _, reduction = key.partition(":")
    if name and reduction == "unique":
        return {key if i == 0 else f"{key}_{i}": value for i, value in enumerate(values)}
    rule = _RULES.get(reduction)
    if rule is not None:
        return {key: rule(values, weights)}
    return {key: values[0]} if len(values) == 1 else {}


def _sum(values: _Values, _weights: _Weights) -> float:
    return sum(values)


def _min(values: _Values, _weights: _Weights) -> float:
    return _nan_or(min, values)


def _max(values: _Values, _weights: _Weights) -> float:
    return _nan_or(max, values)


def _nan_or(pick: Callable[[_Values], float], values: _Values) -> float:
    """Pick a value, or NaN if any is: comparisons with NaN would hide it or not depending on the order."""
    return math.nan if any(math.isnan(value) for value in values) else pick(values)


def _mean(values: _Values, weights: _Weights) -> float:
    if len(values) == 1:
        return values[0]
    total = sum(weights)
    if total == 0:
        return sum(values) / len(values)
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / total


def _slack(values: _Values, weights: _Weights) -> float:
    return _max(values, weights) - _mean(values, weights)


def _hash2(values: _Values, _weights: _Weights) -> float:
    if not all(math.isfinite(value) for value in values):
        return math.nan
    return sum(int(value) & _HASH_MASK for value in values) & _HASH_MASK


_RULES: dict[str, Callable[[_Values, _Weights], float]] = {
    "sum": _sum,
    "min": _min,
    "max": _max,
    "mean": _mean,
    "slack": _slack,
    "hash2": _hash2,
}
