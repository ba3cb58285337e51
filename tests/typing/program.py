"""A program as users write them, with types: mypy and pyright check it strictly, and a test runs it."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Sequence

import pykka

import tinker_actors as ta
from tinker_actors.events import SessionCreated
from tinker_actors.types import TopkLogprobs

PARAMS = ta.SamplingParams(max_tokens=4, temperature=0.0)
PROMPTS = [ta.ModelInput.from_ints(list(text.encode())) for text in ("2+2=", "3+4=", "5+1=")]


class Judge(pykka.ThreadingActor):
    """An actor of the program's own, which drives a sampler through its proxy."""

    def __init__(self, sampler: ta.SamplingProxy) -> None:
        super().__init__()
        self._sampler = sampler

    def score(self, prompt: ta.ModelInput) -> float:
        future: ta.APIFuture[list[float | None]] = self._sampler.compute_logprobs(prompt)
        return future.map(lambda found: sum(each or 0.0 for each in found)).get(timeout=60)


def train(trainer: ta.TrainingClient) -> list[float]:
    """Train a few steps in two ways, and return the losses."""
    data: Sequence[ta.Datum] = [ta.data.supervised_datum(prompt, list(b"4\n")) for prompt in PROMPTS]
    gradient: ta.APIFuture[ta.ForwardBackwardOutput] = trainer.forward_backward(data, "cross_entropy")
    metrics: dict[str, float] = gradient.result(60).metrics
    stepped: ta.OptimStepResponse = trainer.optim_step(ta.AdamParams(learning_rate=1e-2)).result(60)
    steps = [trainer.step(data, "cross_entropy", {"learning_rate": 1e-2}) for _ in range(2)]
    done, _ = concurrent.futures.wait(steps, timeout=60)
    losses = [step.result().loss_per_token for step in done]
    trainer.save_state("typed", user_metadata={"metrics": stepped.metrics, "given": list(metrics)}).result(60)
    return [loss for loss in losses if loss is not None]


def sample(policy: ta.Policy) -> list[int]:
    """Sample in every way that threads have."""
    futures = [policy.sample(prompt, 1, PARAMS) for prompt in PROMPTS]
    found: list[ta.SampleResponse] = [future.result() for future in concurrent.futures.as_completed(futures, 60)]
    tokens = [token for response in found for token in response.sequences[0].tokens]
    with policy.pin() as episode, episode.map(PROMPTS, 1, PARAMS, in_flight=2, on_error="return") as fan_out:
        for _, response in fan_out:
            if not isinstance(response, BaseException):
                sequence: ta.SampledSequence = response.sequences[0]
                likeliest: list[TopkLogprobs | None] | None = sequence.topk_logprobs
                tokens += sequence.tokens if likeliest is None else []
    return tokens


async def sample_async(service: ta.ServiceClient) -> tuple[str, list[ta.SampleResponse]]:
    """Sample in an event loop."""
    sampler: ta.SamplingClient = await service.create_sampling_client_async(base_model="local/tiny")
    eager = sampler.with_options(priority="train", timeout=60.0)
    return await sampler.get_base_model_async(), await asyncio.gather(
        *(eager.sample_async(prompt, num_samples=1, sampling_params=PARAMS) for prompt in PROMPTS)
    )


def main() -> None:
    """Do all of it on an embedded server."""
    opened: list[SessionCreated] = []
    with (
        ta.local_server(engine="numpy") as server,
        ta.ServiceClient(base_url=server.url, config=ta.Config(tags=("typed",))) as service,
    ):
        service.events.subscribe(opened.append, SessionCreated)
        trainer: ta.TrainingClient = service.create_lora_training_client("local/tiny", rank=4, seed=0)
        print("losses", train(trainer))
        policy = trainer.policy("main", max_lag=4)
        version: int = policy.publish().result(60)
        print("version", version, "tokens", sample(policy))
        print("samples", asyncio.run(sample_async(service)))
        judge = Judge.start(trainer.proxy().save_weights_and_get_sampling_client().get(timeout=60).proxy())
        print("score", judge.proxy().score(PROMPTS[0]).get(timeout=60))
        judge.stop()
        try:
            trainer.load_state("tinker://nowhere/weights/none").result(60)
        except ta.RequestFailedError as error:
            print("not there:", error.status_code, error.category)


if __name__ == "__main__":
    main()
