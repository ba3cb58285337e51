"""What goes into a training request and what comes out, and the checks in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from tinker_actors.local.engine.arrays import Ints
from tinker_actors.local.engine.config import ModelConfig
from tinker_actors.local.engine.losses import Values, complete_config, complete_inputs


class Datum(msgspec.Struct, frozen=True, eq=False):
    """One training sequence.

    Attributes:
        tokens: [length], the input ids.
        targets: [length], the id whose log-probability counts at each position (usually the next token); or [length,
            count] for losses that take several at each.
        loss_inputs: Input name -> array in the shape of the targets; see `losses.LOSSES`.
    """

    tokens: Ints
    targets: Ints
    loss_inputs: Mapping[str, npt.NDArray[np.floating]] = {}


class Output(msgspec.Struct, frozen=True, eq=False):
    """The result of a forward or forward_backward.

    Attributes:
        logprobs: Per datum, float32 in the shape of its targets: log-probability of each.
        metrics: `loss:sum` (summed in float64), `tokens:sum` (positions), `datums:sum`.
    """

    logprobs: list[npt.NDArray[np.float32]]
    metrics: dict[str, float]


class CheckedDatum(msgspec.Struct, frozen=True, eq=False):
    """A datum that fits the model and the loss; ids as int64, loss inputs complete and in float64."""

    tokens: Ints
    targets: Ints
    inputs: dict[str, Values]
    where: str


class CheckedRequest(msgspec.Struct, frozen=True, eq=False):
    """A training request that can be computed."""

    data: list[CheckedDatum]
    loss: str
    config: dict[str, float]


def check_ids(
    ids: npt.NDArray[np.integer] | Sequence[int], config: ModelConfig, where: str, *, most_axes: int = 1
) -> Ints:
    """Token ids as an int64 array of one axis, or up to `most_axes`.

    Raises:
        ValueError: Too many axes or none, empty, not integers, or an id outside the vocabulary.
    """
    array = np.asarray(ids)
    if not 1 <= array.ndim <= most_axes or array.size == 0:
        raise ValueError(f"{where} must be a list of at least one token id, got shape {array.shape}")
    if array.dtype.kind not in "iu":
        raise ValueError(f"{where} must be integers, got {array.dtype}")
    lowest, highest = int(array.min()), int(array.max())
    if lowest < 0 or highest >= config.vocab_size:
        bad = lowest if lowest < 0 else highest
        raise ValueError(f"{where} contain id {bad}, outside the vocabulary of {config.vocab_size}")
    return array.astype(np.int64)


def check_request(
    data: Sequence[Datum], loss: str, config: Mapping[str, float] | None, model: ModelConfig
) -> CheckedRequest:
    """Check a whole training request before anything is computed.

    Raises:
        ValueError: No data; ids outside the vocabulary; lengths that do not match; a sequence longer than the context;
            an unknown loss, setting or input; an input that is not finite.
    """
    complete = complete_config(loss, config)
    if not data:
        raise ValueError("data is empty; a request needs at least one datum")
    return CheckedRequest(
        [_check_datum(datum, loss, model, f"datum {i}") for i, datum in enumerate(data)], loss, complete
    )


def _check_datum(datum: Datum, loss: str, model: ModelConfig, where: str) -> CheckedDatum:
    tokens = check_ids(datum.tokens, model, f"{where}: tokens")
    targets = check_ids(datum.targets, model, f"{where}: targets", most_axes=2)
    if len(tokens) != len(targets):
        raise ValueError(f"{where}: {len(tokens)} tokens but {len(targets)} targets")
    if len(tokens) > model.context_length:
        raise ValueError(f"{where} has {len(tokens)} tokens, the model's context is {model.context_length}")
    return CheckedDatum(tokens, targets, complete_inputs(loss, datum.loss_inputs, targets.shape, where), where)
