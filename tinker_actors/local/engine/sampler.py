"""Sampling as one call: many requests in, their results out, decoded together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tinker_actors.local.engine.base import BaseModel
from tinker_actors.local.engine.batch import microbatches
from tinker_actors.local.engine.decoder import Decoder
from tinker_actors.local.engine.lora import Adapter
from tinker_actors.local.engine.sampling import SampleRequest, SampleResult, check_sample_request
from tinker_actors.local.engine.stopping import Detokenise, StopRule


def sample(
    base: BaseModel,
    adapter: Adapter | None,
    requests: Sequence[SampleRequest],
    *,
    detokenise: Detokenise | None = None,
    should_stop: Callable[[int], bool] | None = None,
) -> list[SampleResult | None]:
    """Continue prompts, all together in one batch.

    Args:
        base: The base model.
        adapter: The adapter in effect, or None for the base model itself.
        requests: The prompts and how to continue them.
        detokenise: Turns tokens to text, for stop strings.
        should_stop: Asked before each step with the index of each request still being worked on, in the calling thread;
            True ends work on it.

    Returns:
        One result per request, in order; None where `should_stop` ended it.

    Raises:
        ValueError: A request is not valid; the message says which, and nothing has been sampled. Or the model's
            probabilities are not finite.
    """
    for i, request in enumerate(requests):
        try:
            check_sample_request(request, base.config)
            StopRule(request.stop, base.config, detokenise)
        except ValueError as error:
            raise ValueError(f"request {i}: {error}") from error
    results: list[SampleResult | None] = [None] * len(requests)
    if not requests:
        return results
    decoder = Decoder(base, adapter, detokenise)
    for run in microbatches([len(request.prompt) for request in requests], base.config):
        decoder.admit([(i, requests[i]) for i in run if should_stop is None or not should_stop(i)])
    while live := decoder.live:
        if should_stop is not None and (stopped := {key for key in live if should_stop(key)}):
            decoder.drop(stopped)
        for key, result in decoder.step():
            results[key] = result
    return results
