"""Sampling: samplers made, samples accepted and drawn."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from tinker_actors.local.core import ids
from tinker_actors.local.core.checkpoints.checkpointing import find_checkpoint
from tinker_actors.local.core.futures import Future
from tinker_actors.local.core.jobs import Failure, Job, Result, Success, outcome_of
from tinker_actors.local.core.ports import SampleOutput
from tinker_actors.local.core.requests.messages import Answer, CoreRequest, RefusedError, ok
from tinker_actors.local.core.requests.numbers import require_number
from tinker_actors.local.core.requests.reading import read
from tinker_actors.local.core.samples.batch import Drawn, Sample
from tinker_actors.local.core.samples.completions import CLONE_RANGE
from tinker_actors.local.core.samples.footprint import Footprint, footprint, memory_of
from tinker_actors.local.core.samples.sample_tasks import WholeSampleRequest, sample_task, targets_layout
from tinker_actors.local.core.samples.samplers import Sampler, WeightsRef
from tinker_actors.local.core.samples.streams import Stream, TokenStream
from tinker_actors.protocol.codec import wire_json
from tinker_actors.types.wire import CreateSamplingSessionRequest, JoinSamplingSessionRequest

if TYPE_CHECKING:
    from tinker_actors.local.core.state import CoreState

_OVERHEAD = 1024  # bytes of a sample beside its prompt


def create_sampling_session(core: CoreState, request: CoreRequest, _now: float) -> Answer:
    """`POST create_sampling_session`."""
    body = read(request, CreateSamplingSessionRequest)
    session = core.sessions.get(body.session_id)
    number = body.sampling_session_seq_id
    earlier = session.sampler_numbers.replay(number, request)
    if earlier is not None:
        return earlier
    require_number("sampling_session_seq_id", number)
    weights = _weights(core, body.base_model, body.model_path)
    sampler_id = core.add_sampler(session.session_id, number, weights, core.caller.name)
    answer = ok({"type": "create_sampling_session", "sampling_session_id": sampler_id})
    return session.sampler_numbers.record(number, request, answer)


def get_sampler(core: CoreState, _request: CoreRequest, _now: float, sampler_id: str) -> Answer:
    """`GET samplers/{id}`."""
    weights = core.sampler(sampler_id).weights
    path = None if weights.checkpoint is None else weights.checkpoint.path
    return ok({"type": "sampler", "sampler_id": sampler_id, "base_model": weights.base_model, "model_path": path})


def join_sampling_session(core: CoreState, request: CoreRequest, _now: float) -> Answer:
    """`POST join_sampling_session`: a number for a clone of the sampler's client, each one given once."""
    sampler = core.sampler(read(request, JoinSamplingSessionRequest).sampling_session_id)
    sampler.clones += 1
    return ok({"type": "join_sampling_session", "client_counter": sampler.clones})


def asample(core: CoreState, request: CoreRequest, _now: float) -> Answer:
    """`POST asample`, with a sampler or without one."""
    body = read(request, WholeSampleRequest)
    require_number("seq_id", body.seq_id)
    sampler, weights = _source(core, body)
    earlier = None if sampler is None else sampler.numbers.replay(body.seq_id, request)
    if earlier is not None:
        return earlier
    sample = _accept(core, body, sampler, weights)
    future = sample.future
    names = ids.sequence_ids(future.request_id, sample.task.num_samples)
    answer = ok({"request_id": future.request_id, "sample_sequence_ids": names})
    if sampler is None or body.seq_id is None:
        return answer
    _tell_and_forget(core, sampler, body.seq_id, future)
    return sampler.numbers.record(body.seq_id, request, answer)


def stream_sample(core: CoreState, request: CoreRequest, _now: float) -> Stream:
    """`POST stream_sample`: one completion, token by token. A `seq_id` is not looked at: a stream is not resent."""
    body = read(request, WholeSampleRequest)
    sampler, weights = _source(core, body)
    if body.num_samples != 1:
        raise RefusedError(400, f"A stream has one completion, so num_samples must be 1, got {body.num_samples}.")
    tokens = TokenStream(partial(core.engine.text, weights.base_model))
    return Stream(_accept(core, body, sampler, weights, tokens).future, tokens)


def next_sample_job(core: CoreState) -> Job | None:
    """Return the next turn of a batch of samples, or None when there is nothing to draw."""
    turn = core.sample_queue.take_turn()
    if turn is None:
        return None

    def done(result: Result, _now: float) -> None:
        if isinstance(result, Failure):
            for sample in core.sample_queue.end_turn(turn, None):
                core.futures.settle(sample.future, result)
            return
        drawn: Drawn = result.value
        error = drawn.error
        if error is not None:
            for sample in core.sample_queue.part(turn):
                core.futures.settle(sample.future, _failed(sample, error))
            return
        # Before anything else: what goes wrong with one sample's answer is not to stop the batch, nor the others'.
        over = core.sample_queue.end_turn(turn, [key for key, _ in drawn.finished])
        for key, tokens, logprobs in drawn.tokens:
            _show(core, turn.batch.live[key], tokens, logprobs)
        for sample, (_, output) in zip(over, drawn.finished, strict=True):
            core.futures.settle(sample.future, _ending(sample, output))
            _count(core, sample, output)

    def work() -> Success:
        return Success(value=turn.run(core.engine, core.weights))

    return Job("sample", f"a turn of {len(turn.batch.live)} samples from {turn.batch.weights.base_model}", work, done)


def _failed(sample: Sample, error: Exception) -> Result:
    def fail() -> Success:
        raise error

    return outcome_of(f"the sample {sample.future.request_id}", fail)


def _count(core: CoreState, sample: Sample, output: SampleOutput | ValueError) -> None:
    if isinstance(output, ValueError):
        return
    session_id, owner, base_model = sample.future.session_id, sample.future.owner, sample.weights.base_model
    drawn = sum(len(completion.tokens) for completion in output.completions)
    core.usage.count(core, session_id, owner, base_model, "prefill", len(sample.task.prompt))
    core.usage.count(core, session_id, owner, base_model, "sample", drawn)


def _source(core: CoreState, body: WholeSampleRequest) -> tuple[Sampler | None, WeightsRef]:
    if body.sampling_session_id is None:
        return None, _weights(core, body.base_model, body.model_path)
    sampler = core.sampler(body.sampling_session_id)
    return sampler, sampler.weights


def _accept(
    core: CoreState,
    body: WholeSampleRequest,
    sampler: Sampler | None,
    weights: WeightsRef,
    tokens: TokenStream | None = None,
) -> Sample:
    if len(core.sample_queue) >= core.limits.queued_samples:
        raise RefusedError(429, f"{len(core.sample_queue)} samples wait already.", ("retry-after", "1"))
    info = core.base_model(weights.base_model)
    task = sample_task(core, body, info)
    taken = footprint(task, info)
    _require_drawable(core, taken)
    weight = _OVERHEAD + task.prompt.nbytes
    if task.target_prompt_logprobs is not None:
        weight += 2 * task.target_prompt_logprobs.nbytes  # beside them, as they were given
    core.futures.require_room(weight)
    future = core.futures.create("sample", None if sampler is None else sampler.session_id, weight)
    sample = Sample(future, task, weights, tokens, body.target_prompt_logprobs, taken)
    core.sample_queue.put(sample)
    return sample


def _require_drawable(core: CoreState, taken: Footprint) -> None:
    size, most = memory_of([taken]), core.limits.drawing_bytes
    if most is not None and size > most // 2:
        raise RefusedError(
            400,
            f"num_samples={taken.sequences} with {taken.tokens} tokens of prompt and completion each, and "
            f"{taken.listed} listed log-probabilities, take {size} bytes; this server has {most // 2} for a request. "
            "Lower num_samples, max_tokens or what is listed, and send several.",
        )


def _weights(core: CoreState, base_model: str | None, model_path: str | None) -> WeightsRef:
    if (base_model is None) == (model_path is None):
        raise RefusedError(400, "Exactly one of base_model and model_path is needed.")
    if base_model is not None:
        return core.weights.of_base(core.base_model(base_model).name)
    assert model_path is not None
    meta = find_checkpoint(core, model_path)
    core.base_model(meta.base_model)
    return core.weights.of_checkpoint(meta)


def _tell_and_forget(core: CoreState, sampler: Sampler, seq_id: int, future: Future) -> None:
    completions = sampler.completions_of(max(0, seq_id) // CLONE_RANGE)

    def ended() -> None:
        completions.add(future)
        if completions.asked:
            core.futures.note(completions.name)

    def forgotten() -> None:
        # A sampler lives for days and numbers millions of samples; who still resends one does so within minutes.
        sampler.numbers.forget(seq_id)
        completions.forget(future.request_id)

    future.on_end, future.on_forget = ended, forgotten


def _show(core: CoreState, sample: Sample, tokens: list[int], logprobs: list[float]) -> None:
    stream, request_id = sample.stream, sample.future.request_id
    assert stream is not None

    def show() -> Success:
        stream.add(tokens, logprobs)
        return Success()

    result = outcome_of(f"the stream of {request_id}", show)
    if isinstance(result, Failure):
        core.futures.settle(sample.future, result)
    core.futures.note(request_id)


def _ending(sample: Sample, output: SampleOutput | ValueError) -> Result:
    def end() -> Success:
        if isinstance(output, ValueError):
            raise output
        if sample.stream is not None:
            sample.stream.finish(output.completions[0])
            return Success()
        return Success(_encoded(sample, output))

    return outcome_of(f"the answer of {sample.future.request_id}", end)


def _encoded(sample: Sample, output: SampleOutput) -> bytes:
    names = ids.sequence_ids(sample.future.request_id, len(output.completions))
    sequences: list[dict[str, Any]] = [
        {
            "stop_reason": completion.stop_reason,
            "tokens": completion.tokens,
            "logprobs": completion.logprobs,
            "sequence_id": name,
            "topk_logprobs": completion.topk_logprobs,
        }
        for completion, name in zip(output.completions, names, strict=True)
    ]
    said: dict[str, Any] = {
        "type": "sample",
        "sequences": sequences,
        "prompt_logprobs": output.prompt_logprobs,
        "topk_prompt_logprobs": output.topk_prompt_logprobs,
        "prompt_cache_hit_tokens": 0,
    }
    if sample.targets is not None and output.target_prompt_logprobs is not None:
        said["target_prompt_logprobs"] = targets_layout(sample.targets, output.target_prompt_logprobs)
    return wire_json.encode(said)
