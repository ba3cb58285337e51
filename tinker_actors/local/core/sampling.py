"""Sampling: samplers made, samples accepted and drawn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tinker_actors.local.core import ids
from tinker_actors.local.core.checkpointing import find_checkpoint
from tinker_actors.local.core.datums import check_vocabulary, tokens_of
from tinker_actors.local.core.futures import Future
from tinker_actors.local.core.jobs import Failure, Job, Result, Success
from tinker_actors.local.core.messages import Answer, CoreRequest, RefusedError, ok
from tinker_actors.local.core.ports import BaseModelInfo, SampleOutput, SampleTask, Stop
from tinker_actors.local.core.reading import read
from tinker_actors.local.core.samplers import Sampler, WaitingSample, WeightsRef
from tinker_actors.protocol import codec
from tinker_actors.types.sampling import SamplingParams
from tinker_actors.types.wire import CreateSamplingSessionRequest, SampleRequest, WireModelInput

if TYPE_CHECKING:
    from tinker_actors.local.core.state import CoreState


class WholeSampleRequest(SampleRequest, tag_field="type", tag="sample"):
    """`POST asample` with the options that this server does not have, so that asking for one is not ignored."""

    topk_sample_logprobs: int | None = 0
    target_prompt_logprobs: Any = None
    prompt_alt_tokens_k: int | None = 0
    prompt_logprobs_last_n: int | None = None


def create_sampling_session(core: CoreState, request: CoreRequest, _now: float) -> Answer:
    """`POST create_sampling_session`."""
    body = read(request, CreateSamplingSessionRequest)
    session = core.sessions.get(body.session_id)
    number = body.sampling_session_seq_id
    earlier = session.sampler_numbers.replay(number, request)
    if earlier is not None:
        return earlier
    if number < 0:
        raise RefusedError(422, f"sampling_session_seq_id starts at 0, got {number}.")
    sampler_id = ids.sampler_id(session.session_id, number)
    core.samplers[sampler_id] = Sampler(
        sampler_id, session.session_id, _weights(core, body.base_model, body.model_path)
    )
    answer = ok({"type": "create_sampling_session", "sampling_session_id": sampler_id})
    return session.sampler_numbers.record(number, request, answer)


def get_sampler(core: CoreState, _request: CoreRequest, _now: float, sampler_id: str) -> Answer:
    """`GET samplers/{id}`."""
    weights = core.sampler(sampler_id).weights
    path = None if weights.checkpoint is None else weights.checkpoint.path
    return ok({"type": "sampler", "sampler_id": sampler_id, "base_model": weights.base_model, "model_path": path})


def asample(core: CoreState, request: CoreRequest, _now: float) -> Answer:
    """`POST asample`, with a sampler or without one."""
    body = read(request, WholeSampleRequest)
    sampler = None
    if body.sampling_session_id is None:
        weights = _weights(core, body.base_model, body.model_path)
    else:
        sampler = core.sampler(body.sampling_session_id)
        weights = sampler.weights
        earlier = sampler.numbers.replay(body.seq_id, request)
        if earlier is not None:
            return earlier
    if len(core.sample_queue) >= core.limits.queued_samples:
        raise RefusedError(429, f"{len(core.sample_queue)} samples wait already.", ("retry-after", "1"))
    _require_known_options(body)
    task = _task(core, body, core.base_model(weights.base_model))
    future = core.futures.create("sample", None if sampler is None else sampler.session_id)
    core.sample_queue.put(WaitingSample(future, task, weights))
    names = ids.sequence_ids(future.request_id, task.num_samples)
    answer = ok({"request_id": future.request_id, "sample_sequence_ids": names})
    if sampler is None or body.seq_id is None:
        return answer
    _forget_together(sampler, body.seq_id, future)
    return sampler.numbers.record(body.seq_id, request, answer)


def next_sample_job(core: CoreState) -> Job | None:
    """Return the next batch of samples to draw, or None when none waits."""
    batch = core.sample_queue.take_batch()
    if not batch:
        return None

    def work() -> Success:
        value = core.weights.load(batch[0].weights)
        outputs = core.engine.sample(
            value, [sample.task for sample in batch], lambda index: batch[index].future.state != "pending"
        )
        return Success(value=[_result(sample, output) for sample, output in zip(batch, outputs, strict=True)])

    def done(result: Result, _now: float) -> None:
        results = [result] * len(batch) if isinstance(result, Failure) else result.value
        for sample, own in zip(batch, results, strict=True):
            core.futures.settle(sample.future, own)

    return Job("sample", f"{len(batch)} samples from {batch[0].future.request_id}", work, done)


def _weights(core: CoreState, base_model: str | None, model_path: str | None) -> WeightsRef:
    if (base_model is None) == (model_path is None):
        raise RefusedError(400, "Exactly one of base_model and model_path is needed.")
    if base_model is not None:
        return core.weights.of_base(core.base_model(base_model).name)
    assert model_path is not None
    meta = find_checkpoint(core, model_path)
    core.base_model(meta.base_model)
    return core.weights.of_checkpoint(meta)


def _forget_together(sampler: Sampler, seq_id: int, future: Future) -> None:
    # A sampler lives for days and numbers millions of samples; who still resends one does so within minutes.
    future.on_forget = lambda: sampler.numbers.forget(seq_id)


def _require_known_options(body: WholeSampleRequest) -> None:
    asked = {
        "topk_sample_logprobs": body.topk_sample_logprobs,
        "target_prompt_logprobs": body.target_prompt_logprobs is not None,
        "prompt_alt_tokens_k": body.prompt_alt_tokens_k,
        "prompt_logprobs_last_n": body.prompt_logprobs_last_n is not None,
    }
    unknown = [name for name, wanted in asked.items() if wanted]
    if unknown:
        raise RefusedError(400, f"This server does not have the option {', '.join(unknown)}.")


def _task(core: CoreState, body: SampleRequest, info: BaseModelInfo) -> SampleTask:
    params, limits = body.sampling_params, core.limits
    _require(
        1 <= body.num_samples <= limits.samples_per_request,
        f"num_samples must be 1 to {limits.samples_per_request}, got {body.num_samples}.",
    )
    topk = body.topk_prompt_logprobs or 0
    most = min(limits.topk_logprobs, info.vocab_size)
    _require(0 <= topk <= most, f"topk_prompt_logprobs must be 0 to {most}, got {topk}.")
    _check_params(params)
    return SampleTask(
        prompt=_prompt(body.prompt, info),
        num_samples=body.num_samples,
        max_tokens=params.max_tokens,
        temperature=params.temperature,
        top_k=params.top_k if params.top_k > 0 else None,
        top_p=params.top_p,
        seed=params.seed if params.seed is not None else ids.seed_from(core.new_id()),
        stop=_stop(params.stop, info),
        prompt_logprobs=bool(body.prompt_logprobs),
        topk_prompt_logprobs=topk,
    )


def _check_params(params: SamplingParams) -> None:
    _require(
        params.max_tokens is None or params.max_tokens >= 1, f"max_tokens must be at least 1, got {params.max_tokens}."
    )
    _require(
        math.isfinite(params.temperature) and params.temperature >= 0,
        f"temperature must be 0 or more, got {params.temperature}.",
    )
    _require(params.top_k >= -1, f"top_k must be -1 (no limit) or more, got {params.top_k}.")
    _require(0 < params.top_p <= 1, f"top_p must be above 0 and at most 1, got {params.top_p}.")


def _prompt(prompt: WireModelInput, info: BaseModelInfo) -> Any:
    try:
        tokens = tokens_of(prompt)
        check_vocabulary(tokens, info.vocab_size, "The prompt")
    except ValueError as error:
        raise RefusedError(400, f"The prompt can't be used: {error}.") from error
    _require(len(tokens) > 0, "The prompt is empty.")
    _require(
        len(tokens) < info.context_length,
        f"The prompt has {len(tokens)} tokens; {info.name} has a context of {info.context_length} tokens, "
        f"of which a completion needs at least one.",
    )
    return tokens


def _stop(stop: str | list[str | int] | None, info: BaseModelInfo) -> tuple[Stop, ...] | None:
    if stop is None:
        return None
    given = [stop] if isinstance(stop, str) else stop
    _require("" not in given, "A stop string must not be empty.")
    for token in given:
        _require(
            isinstance(token, str) or 0 <= token < info.vocab_size, f"Stop token {token} is not in the vocabulary."
        )
    return tuple(item if isinstance(item, str) else (item,) for item in given)


def _require(fine: bool, otherwise: str) -> None:
    if not fine:
        raise RefusedError(400, otherwise)


def _result(sample: WaitingSample, output: SampleOutput | ValueError | None) -> Result:
    if isinstance(output, ValueError):
        return Failure(str(output), "user")
    if output is None:
        return Failure("The sample was stopped before its end.", "server")
    names = ids.sequence_ids(sample.future.request_id, len(output.completions))
    sequences = [
        {
            "stop_reason": completion.stop_reason,
            "tokens": completion.tokens,
            "logprobs": completion.logprobs,
            "sequence_id": name,
        }
        for completion, name in zip(output.completions, names, strict=True)
    ]
    return Success(
        codec.encode(
            {
                "type": "sample",
                "sequences": sequences,
                "prompt_logprobs": output.prompt_logprobs,
                "topk_prompt_logprobs": output.topk_prompt_logprobs,
                "prompt_cache_hit_tokens": 0,
            }
        )
    )
