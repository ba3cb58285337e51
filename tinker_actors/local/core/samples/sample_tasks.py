"""Sample tasks: what a sample request asks for, checked and put in the engine's terms."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tinker_actors.local.core import ids
from tinker_actors.local.core.models.datums import array_of, check_vocabulary, tokens_of
from tinker_actors.local.core.ports import BaseModelInfo, SampleTask, Stop
from tinker_actors.local.core.requests.messages import RefusedError
from tinker_actors.types.sampling import SamplingParams
from tinker_actors.types.wire import SampleRequest, WireModelInput, WireTensor

if TYPE_CHECKING:
    from tinker_actors.local.core.state import CoreState

TARGETS = "target_prompt_logprobs"
_MATRIX = 2  # dimensions
_LONGEST_STOP = 1024
_MOST = 2**63 - 1  # what official clients and engines have for an integer


class WholeSampleRequest(SampleRequest, tag_field="type", tag="sample"):
    """`POST asample` with the options that few clients send (wire protocol 3.5)."""

    topk_sample_logprobs: int | None = 0
    target_prompt_logprobs: WireTensor | None = None
    prompt_alt_tokens_k: int | None = 0
    prompt_logprobs_last_n: int | None = None


def sample_task(core: CoreState, body: WholeSampleRequest, info: BaseModelInfo) -> SampleTask:
    """Return what a request asks for.

    Raises:
        RefusedError: 400, it can't be done.
    """
    params, limits = body.sampling_params, core.limits
    _require(not body.prompt_alt_tokens_k, "This server does not have the option prompt_alt_tokens_k.")
    _require(
        1 <= body.num_samples <= limits.samples_per_request,
        f"num_samples must be 1 to {limits.samples_per_request}, got {body.num_samples}.",
    )
    most = min(limits.topk_logprobs, info.vocab_size)
    topk_prompt, topk_sample = body.topk_prompt_logprobs or 0, body.topk_sample_logprobs or 0
    for name, count in (("topk_prompt_logprobs", topk_prompt), ("topk_sample_logprobs", topk_sample)):
        _require(0 <= count <= most, f"{name} must be 0 to {most}, got {count}.")
    _check_params(params)
    prompt = _prompt(body.prompt, info)
    new = max(1, info.context_length - len(prompt))
    if params.max_tokens is not None:
        new = min(new, params.max_tokens)
    _check_sizes(body.num_samples, len(prompt), new, (topk_prompt, topk_sample), limits.sample_tokens)
    return SampleTask(
        prompt=prompt,
        num_samples=body.num_samples,
        max_tokens=new,
        temperature=params.temperature,
        top_k=params.top_k if 0 < params.top_k < info.vocab_size else None,
        top_p=params.top_p,
        seed=ids.seed_from(core.new_id()) if params.seed is None else params.seed % 2**64,
        stop=_stop(params.stop, info, limits.stops),
        prompt_logprobs=bool(body.prompt_logprobs),
        topk_prompt_logprobs=topk_prompt,
        prompt_logprobs_last_n=_last_n(body, len(prompt)),
        target_prompt_logprobs=_targets(body.target_prompt_logprobs, len(prompt), info, limits.target_cells),
        topk_sample_logprobs=topk_sample,
    )


def targets_layout(tensor: WireTensor, values: npt.NDArray[np.float32]) -> WireTensor:
    """Return scores in the layout in which their targets were given, dense or CSR."""
    found = values
    if tensor.sparse_crow_indices is not None:
        found = values[_csr_rows(tensor), np.asarray(tensor.sparse_col_indices, np.int64)]
    return WireTensor(
        data=found.reshape(-1),  # type: ignore[arg-type] # encoded like a list
        dtype="float32",
        shape=list(values.shape),
        sparse_crow_indices=tensor.sparse_crow_indices,
        sparse_col_indices=tensor.sparse_col_indices,
    )


def _check_params(params: SamplingParams) -> None:
    _require(
        params.max_tokens is None or 1 <= params.max_tokens <= _MOST,
        f"max_tokens must be 1 to {_MOST}, got {params.max_tokens}.",
    )
    _require(
        math.isfinite(params.temperature) and params.temperature >= 0,
        f"temperature must be 0 or more, got {params.temperature}.",
    )
    _require(-1 <= params.top_k <= _MOST, f"top_k must be -1 (no limit) to {_MOST}, got {params.top_k}.")
    _require(0 < params.top_p <= 1, f"top_p must be above 0 and at most 1, got {params.top_p}.")


def _check_sizes(samples: int, prompt: int, new: int, topk: tuple[int, int], most: int) -> None:
    """Check how much memory a sample takes while it is drawn, and its answer afterwards."""
    tokens = samples * (prompt + new)
    _require(
        tokens <= most,
        f"num_samples times the tokens of prompt and completion is {tokens}; this server takes {most} in a request. "
        "Lower num_samples or max_tokens, and send several.",
    )
    listed = prompt * topk[0] + samples * new * topk[1]
    _require(
        listed <= 8 * most,
        f"{listed} log-probabilities would be listed; this server lists {8 * most} in an answer.",
    )


def _prompt(prompt: WireModelInput, info: BaseModelInfo) -> Any:
    try:
        tokens = tokens_of(prompt)
        check_vocabulary(tokens, info.vocab_size, "The prompt")
    except ValueError as error:
        raise RefusedError(400, f"The prompt can't be used: {error}.") from error
    _require(len(tokens) > 0, "The prompt is empty.")
    _require(
        len(tokens) <= info.context_length,
        f"The prompt has {len(tokens)} tokens; {info.name} has a context of {info.context_length} tokens.",
    )
    return tokens


def _stop(stop: str | list[str | int] | None, info: BaseModelInfo, most: int) -> tuple[Stop, ...] | None:
    if stop is None:
        return None
    given = [stop] if isinstance(stop, str) else stop
    _require(len(given) <= most, f"There are {len(given)} stop sequences; this server takes {most}.")
    _require(
        all(len(text) <= _LONGEST_STOP for text in given if isinstance(text, str)),
        f"A stop string has at most {_LONGEST_STOP} characters.",
    )
    _require("" not in given, "A stop string must not be empty.")
    for token in given:
        _require(
            isinstance(token, str) or 0 <= token < info.vocab_size, f"Stop token {token} is not in the vocabulary."
        )
    return tuple(item if isinstance(item, str) else (item,) for item in given)


def _last_n(body: WholeSampleRequest, length: int) -> int | None:
    last_n = body.prompt_logprobs_last_n
    if last_n is not None:
        _require(bool(body.prompt_logprobs), "prompt_logprobs_last_n needs prompt_logprobs.")
        _require(
            1 <= last_n < length,
            f"prompt_logprobs_last_n must be 1 to {length - 1} for a prompt of {length} tokens, got {last_n}.",
        )
    return last_n


def _targets(
    tensor: WireTensor | None, length: int, info: BaseModelInfo, most_cells: int
) -> npt.NDArray[np.int64] | None:
    """Return the tokens to score behind each position, (length - 1, K), -1 for nothing."""
    if tensor is None:
        return None
    shape = tensor.shape or []
    _require(
        len(shape) == _MATRIX and shape[0] == length - 1 and shape[1] >= 0,
        f"{TARGETS} needs the shape [{length - 1}, K] for a prompt of {length} tokens, got {shape}.",
    )
    _require(tensor.dtype == "int64", f"{TARGETS} must be int64, not {tensor.dtype[:40]}.")
    # Before it is made dense: two numbers of a sparse tensor's shape would otherwise fill any memory.
    _require(
        shape[0] * shape[1] <= most_cells, f"{TARGETS} has {shape[0] * shape[1]} cells; the limit is {most_cells}."
    )
    try:
        dense = _dense(tensor)
    except ValueError as error:
        raise RefusedError(400, f"{error}.") from error
    outside = dense[(dense < -1) | (dense >= info.vocab_size)]
    _require(
        not outside.size,
        f"{TARGETS} contains token {outside.flat[0] if outside.size else ''}, which is not in the vocabulary.",
    )
    return dense


def _dense(tensor: WireTensor) -> npt.NDArray[np.int64]:
    given: npt.NDArray[np.int64] = array_of(tensor, TARGETS)
    if tensor.sparse_crow_indices is None:
        return given
    dense = np.full(given.shape, -1, np.int64)
    places = (_csr_rows(tensor), np.asarray(tensor.sparse_col_indices, np.int64))
    dense[places] = given[places]
    return dense


def _csr_rows(tensor: WireTensor) -> npt.NDArray[np.int64]:
    """Return the row of each stored value."""
    crow = np.asarray(tensor.sparse_crow_indices, np.int64)
    return np.repeat(np.arange(len(crow) - 1), np.diff(crow))


def _require(fine: bool, otherwise: str) -> None:
    if not fine:
        raise RefusedError(400, otherwise)
